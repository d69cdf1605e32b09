# ViT-B/16: CLIP on LAION-2B, then ImageNet-12k and 1k at 384 px
checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/clip/'
    'clip-vit-base-p16_laion2b-in12k-pre_3rdparty_in1k-384px_20221220-84ed0cc0.pth'
)
backbone = dict(
    type='VisionTransformer',
    arch='base',
    img_size=512,  # positions are resized as they are loaded, and to any other size that arrives
    pre_norm=True,
    out_type='featmap',
    layer_cfgs=dict(drop_path_rate=0.0),  # a plain number: torch.export stops at numpy's
    init_cfg=dict(type='Pretrained', prefix='backbone', checkpoint=checkpoint),
)
channels = 768
# CLIP's mean and std
normalisation = dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323])
