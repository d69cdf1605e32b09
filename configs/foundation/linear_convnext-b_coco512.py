"""ConvNeXt-B with a linear classifier.

tools/dist_train.sh configs/foundation/linear_convnext-b_coco512.py 4
Not run; downloads 354 MB.
"""

_base_ = ['./_base_/linear.py', './_base_/convnext-b_in21k.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
