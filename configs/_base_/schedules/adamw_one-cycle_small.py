# A short run on two CPU cores: 10 epochs, contrastive losses on from the 7th.
epochs = 10

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.95, 0.999), weight_decay=1e-2),
)
param_scheduler = [
    dict(
        type='GroupOneCycleLR',
        pct_start=0.2,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=epochs,
    )
]
custom_hooks = [
    # about 10 / iterations: the published 2e-4 averages over 5,000 steps, more than the run has
    dict(type='EMAHook', momentum=0.015, priority='ABOVE_NORMAL'),
    dict(type='PrototypeHook', begin=7),
]

train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=32)
