optim_wrapper = dict(
    type='AmpOptimWrapper',
    # published: 1e-4 and 1e-8, with a loss that is the sum over 56 images
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4 / 56, eps=1e-8 / 56),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(flat_decay_mult=0.0),  # published: none of vectors
)
param_scheduler = [
    dict(type='GroupOneCycleLR', pct_start=0.2, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [
    # 1 - decay 0.9997, of batch norm's statistics, too
    dict(type='ForeachEMAHook', momentum=3e-4, statistics=True, priority='ABOVE_NORMAL')
]

train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=56)  # 8 GPUs x 7, published on one
