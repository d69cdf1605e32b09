"""ViT-B/16 of CLIP with a linear classifier, by CatLIP's cheap recipe, on 4 GPUs of 80 GB.

tools/dist_train.sh configs/foundation/linear_vit-b_coco512.py 4
CatLIP's authors, with their weights: mAP 88.06. Ours: not run; it downloads 345 MB of weights.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-b_clip.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
