"""Swin-V2-B with a linear classifier.

tools/dist_train.sh configs/foundation/linear_swin-v2-b_coco512.py 4
Not run; downloads 352 MB.
"""

_base_ = ['./_base_/linear.py', './_base_/swin-v2-b_in21k.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
