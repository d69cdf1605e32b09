"""ViT-L/14 of CLIP with a linear classifier.

tools/dist_train.sh configs/foundation/linear_vit-l_coco518.py 4
CatLIP's authors, with an L/16 of their own at 512 px: mAP 90.75. Ours: not run; downloads 1.2 GB.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-l_clip.py', '../_base_/datasets/coco518.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
