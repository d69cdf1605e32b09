# ViT-L/16: SigLIP 2 at 512 px, through timm; as CatLIP's, trained on captions by a binary loss
backbone = dict(
    type='LazyTIMMBackbone',
    model_name='vit_large_patch16_siglip_gap_512.v2_webli',
    dynamic_img_size=True,  # positions are resized to what arrives
)
channels = 1024
normalisation = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
