# ViT-B/16: DINOv3 at 256 px, its rotary positions fit any size. timm; Meta's DINOv3 licence.
backbone = dict(type='LazyTIMMBackbone', model_name='vit_base_patch16_dinov3.lvd1689m')
channels = 768
normalisation = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
