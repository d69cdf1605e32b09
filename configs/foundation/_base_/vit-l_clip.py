# ViT-L/14: CLIP of OpenAI at 224 px
_base_ = './vit-b_clip.py'

checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/clip/'
    'vit-large-p14_clip-openai-pre_3rdparty_20230517-95e2af0b.pth'
)
backbone = dict(
    arch='large',
    img_size=518,
    patch_size=14,
    layer_cfgs=dict(act_cfg=dict(type='QuickGELU')),
    init_cfg=dict(checkpoint=checkpoint),
)
channels = 1024
