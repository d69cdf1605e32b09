# Six epochs of a cycle of 80, whose rate still rises then; the second stage has 80, a whole cycle.
first, epochs = 6, 80

stem = dict(lr_mult=0.0, decay_mult=0.0)  # not trained; its batch norm sees the batch, as published
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-2),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(
        flat_decay_mult=0.0,  # published: none of vectors
        custom_keys={'backbone.conv1': stem, 'backbone.bn1': stem},
    ),
)
one_cycle = dict(type='GroupOneCycleLR', pct_start=0.2, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [
    dict(**one_cycle, begin=0, end=first, total_steps=epochs),
    dict(**one_cycle, begin=first, end=first + epochs),
]
custom_hooks = [
    # 1 - decay 0.9997, of batch norm's statistics, too
    dict(type='ForeachEMAHook', momentum=3e-4, statistics=True, priority='ABOVE_NORMAL'),
    dict(type='ContextMemoryHook', begin=first + 1),
    # validation sees the EMA weights; the published code looks at the others, too
    dict(type='StageEarlyStoppingHook', next_stage=first + 1, patience=9),
]

train_cfg = dict(by_epoch=True, max_epochs=first + epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=128)  # 4 GPUs x 32
sync_bn = 'torch'  # over the GPUs
