_base_ = './sadcl_r101.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch='large',
        img_size=384,
        stage_cfgs=dict(block_cfgs=dict(window_size=12)),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/'
            'convert/swin-large_3rdparty_in21k-384px.pth',
        ),
    ),
    neck=dict(in_channels=1536),
)
