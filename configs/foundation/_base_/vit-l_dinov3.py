# ViT-L/16: DINOv3
_base_ = './vit-b_dinov3.py'

backbone = dict(model_name='vit_large_patch16_dinov3.lvd1689m')
channels = 1024
