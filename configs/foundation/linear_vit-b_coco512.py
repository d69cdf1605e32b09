"""ViT-B/16 of CLIP with a linear classifier, by CatLIP's cheap recipe.

tools/dist_train.sh configs/foundation/linear_vit-b_coco512.py 4
CatLIP's authors, with weights of their own, 4 A100: mAP 88.06. Ours: not run; downloads 345 MB.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-b_clip.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
