"""SADCL with a ConvNeXt-B. Not run.

tools/dist_train.sh configs/sadcl/sadcl_convnext-b_coco448.py 8
"""

_base_ = './sadcl_r101_coco448.py'

checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/convnext/'
    'convnext-base_in21k-pre-3rdparty_in1k-384px_20221219-4570f792.pth'
)
init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')
convnext = dict(type='ConvNeXt', arch='base', gap_before_final_norm=False, init_cfg=init_cfg)
model = dict(backbone=dict(_delete_=True, **convnext), neck=dict(in_channels=1024))
