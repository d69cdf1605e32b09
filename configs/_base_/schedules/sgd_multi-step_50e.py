# 50 epochs of SGD with the backbone ten times slower; a config adds the rate and its steps.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=10),
)
# the released codes read the epoch before they count it: steps at 30 and 40 come an epoch later
param_scheduler = [dict(type='MultiStepLR', milestones=[31, 41], gamma=0.1)]
custom_hooks = []

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=16)
