# Two stages of 80 epochs, each with a one-cycle of its own; PrototypeHook starts the second.
epochs = 80

optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',  # float16 as published in `_published`, and on GPUs without bfloat16
    # weight decay on everything, as published
    optimizer=dict(type='AdamW', lr=5e-5, betas=(0.95, 0.999), weight_decay=5e-3),
)
one_cycle = dict(type='GroupOneCycleLR', pct_start=0.2, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [
    dict(**one_cycle, begin=0, end=epochs),
    dict(**one_cycle, begin=epochs, end=2 * epochs),
]
custom_hooks = [
    dict(type='ForeachEMAHook', momentum=2e-4, priority='ABOVE_NORMAL'),  # 1 - decay 0.9998
    dict(type='PrototypeHook', begin=epochs + 1, start_from='best'),
    # validation sees the EMA weights; published: more than 8 epochs without a gain
    dict(type='StageEarlyStoppingHook', next_stage=epochs + 1, patience=9),
]

train_cfg = dict(by_epoch=True, max_epochs=2 * epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=64)  # 8 GPUs x 8, the published 2 x 32
