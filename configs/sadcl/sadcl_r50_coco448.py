"""SADCL with a ResNet-50. tools/dist_train.sh configs/sadcl/sadcl_r50_coco448.py 8. Not run."""

_base_ = './sadcl_r101_coco448.py'

model = dict(
    backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))
)
