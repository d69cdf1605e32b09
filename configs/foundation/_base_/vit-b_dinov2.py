# ViT-B/14: DINOv2 at 518 px
checkpoint = (
    'https://mmassets.onedl.ai/mmpretrain/v1.0/dinov2/'
    'vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth'
)
backbone = dict(
    type='VisionTransformer',
    arch='base',
    img_size=518,
    patch_size=14,
    layer_scale_init_value=1e-5,
    out_type='featmap',
    layer_cfgs=dict(drop_path_rate=0.0),  # a plain number: torch.export stops at numpy's
    init_cfg=dict(type='Pretrained', prefix='backbone', checkpoint=checkpoint),
)
channels = 768
normalisation = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
