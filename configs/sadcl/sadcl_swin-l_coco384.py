"""SADCL with a Swin-L at 384 px. tools/dist_train.sh configs/sadcl/sadcl_swin-l_coco384.py 8

Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/coco384.py',
    '../_base_/schedules/adamw_one-cycle_2x80e.py',
    '../_base_/default_runtime.py',
]

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
            checkpoint='https://download.openmmlab.com/mmclassification/v0/swin-transformer/'
            'convert/swin-large_3rdparty_in21k-384px.pth',
        ),
    ),
    neck=dict(in_channels=1536),
)
