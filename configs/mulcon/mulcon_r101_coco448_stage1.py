"""The first step of MulCon: label embeddings with binary cross-entropy, no contrast.

tools/dist_train.sh configs/mulcon/mulcon_r101_coco448_stage1.py 2
Ours: not run.
"""

_base_ = './_base_/mulcon_r101_coco448.py'

model = dict(head=dict(num_views=1, loss_con=None))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=_base_.one_view))  # 2 GPUs x 16 = 32
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=20, begin=5, end=25, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=25, val_interval=1)
auto_scale_lr = dict(base_batch_size=32)
