# Swin-V2-B: ImageNet-21k at 192 px, then 1k at 256 px; the windows of 16 fill 512 px, too
checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/swin-v2/'
    'swinv2-base-w16_in21k-pre_3rdparty_in1k-256px_20220803-8d7aa8ad.pth'
)
backbone = dict(
    type='SwinTransformerV2',
    arch='base',
    img_size=512,
    window_size=[16, 16, 16, 8],
    pretrained_window_sizes=[12, 12, 12, 6],
    drop_path_rate=0.0,
    init_cfg=dict(type='Pretrained', prefix='backbone', checkpoint=checkpoint),
)
channels = 1024
normalisation = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
