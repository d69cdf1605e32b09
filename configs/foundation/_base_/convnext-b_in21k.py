# ConvNeXt-B: ImageNet-21k, then 1k at 384 px
checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/convnext/'
    'convnext-base_in21k-pre-3rdparty_in1k-384px_20221219-4570f792.pth'
)
backbone = dict(
    type='ConvNeXt',
    arch='base',
    gap_before_final_norm=False,
    init_cfg=dict(type='Pretrained', prefix='backbone', checkpoint=checkpoint),
)
channels = 1024
normalisation = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
