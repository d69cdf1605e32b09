"""SADCL that attends to layer3 (28 x 28 cells) and layer4 (14 x 14) of ResNet-101. Not run.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448_multi-scale.py 8
"""

_base_ = './sadcl_r101_coco448.py'

model = dict(backbone=dict(out_indices=(2, 3)), neck=dict(in_channels=(1024, 2048)))
