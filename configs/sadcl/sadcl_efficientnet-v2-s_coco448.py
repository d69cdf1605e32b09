"""SADCL with an EfficientNet-V2-S, BatchNorm in evaluation. Not run.

tools/dist_train.sh configs/sadcl/sadcl_efficientnet-v2-s_coco448.py 8
"""

_base_ = './sadcl_r101_coco448.py'

checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/efficientnetv2/'
    'efficientnetv2-s_in21k-pre-3rdparty_in1k_20221220-7a7c8475.pth'
)
init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')
efficientnet = dict(type='EfficientNetV2', arch='s', norm_eval=True, init_cfg=init_cfg)
model = dict(backbone=dict(_delete_=True, **efficientnet), neck=dict(in_channels=1280))
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])  # the checkpoint's
