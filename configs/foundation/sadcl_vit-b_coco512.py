"""SADCL on the ViT-B/16 of linear_vit-b_coco512, in its ten epochs.

tools/dist_train.sh configs/foundation/sadcl_vit-b_coco512.py 4
Not run; downloads 345 MB.
"""

_base_ = ['./_base_/sadcl.py', './_base_/vit-b_clip.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
