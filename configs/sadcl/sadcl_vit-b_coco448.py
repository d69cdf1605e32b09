"""SADCL with a ViT-B/16; its positions of 384 px are resized as they are loaded. Not run.

tools/dist_train.sh configs/sadcl/sadcl_vit-b_coco448.py 8
"""

_base_ = './sadcl_r101_coco448.py'

checkpoint = (
    'https://mmassets.onedl.ai/mmclassification/v0/vit/finetune/'
    'vit-base-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-98e8652b.pth'
)
init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')
vit = dict(type='VisionTransformer', arch='b', img_size=448, out_type='featmap', init_cfg=init_cfg)
vit['layer_cfgs'] = dict(drop_path_rate=0.0)  # a plain number: torch.export stops at numpy's
model = dict(backbone=dict(_delete_=True, **vit), neck=dict(in_channels=768))
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])  # the checkpoint's
