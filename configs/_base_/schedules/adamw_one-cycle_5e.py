# A short run on two CPU cores: 5 epochs, contrastive losses on from the 4th.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.95, 0.999), weight_decay=1e-2),
)
param_scheduler = [
    dict(type='GroupOneCycleLR', pct_start=0.2, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [
    # about 10 / iterations (5 x 62): the published 2e-4 averages over 5,000 steps
    dict(type='ForeachEMAHook', momentum=0.03, priority='ABOVE_NORMAL'),
    dict(type='PrototypeHook', begin=4),
]

train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=2)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=32)
