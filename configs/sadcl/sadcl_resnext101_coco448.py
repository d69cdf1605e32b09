"""SADCL with a ResNeXt-101 (32x8d). Not run.

tools/dist_train.sh configs/sadcl/sadcl_resnext101_coco448.py 8
"""

_base_ = './sadcl_r101_coco448.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        groups=32,
        width_per_group=8,
        init_cfg=dict(checkpoint='torchvision://resnext101_32x8d'),
    )
)
