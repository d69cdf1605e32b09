"""ViT-L/14 of DINOv2 with a linear classifier.

tools/dist_train.sh configs/foundation/linear_vit-l-dinov2_coco518.py 4
Not run; downloads 1.2 GB.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-l_dinov2.py', '../_base_/datasets/coco518.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
