# A short run on two CPU cores: 6 epochs, the pretrained backbone slower than the new parts.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.95, 0.999), weight_decay=1e-2),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.2))),
)
param_scheduler = [
    dict(
        type='GroupOneCycleLR',
        pct_start=0.2,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=6,
    )
]
# about 10 / iterations (6 x 140): the published 2e-4 averages over 5,000 steps
custom_hooks = [dict(type='ForeachEMAHook', momentum=0.012, priority='ABOVE_NORMAL')]

train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=32)
