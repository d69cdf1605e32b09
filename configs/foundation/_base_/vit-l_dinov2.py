# ViT-L/14: DINOv2 at 518 px
_base_ = './vit-b_dinov2.py'

checkpoint = (
    'https://mmassets.onedl.ai/mmpretrain/v1.0/dinov2/'
    'vit-large-p14_dinov2-pre_3rdparty_20230426-f3302d9e.pth'
)
backbone = dict(arch='large', init_cfg=dict(checkpoint=checkpoint))
channels = 1024
