_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/datasets/coco448_labelled.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.cpsd'], allow_failed_imports=False)
num_classes = _base_.data_preprocessor.num_classes
# images between 0 and 1, as published: without ImageNet's mean and std
data_preprocessor = dict(mean=[0.0] * 3, std=[255.0] * 3)
model = dict(
    neck=dict(
        type='R101TFNeck',
        in_channels=2048,
        num_classes=num_classes,
        vectors=dict(file='data/glove/glove.6B.300d.txt'),
    ),
    head=dict(
        type='R101TFHead',
        num_classes=num_classes,
        in_channels=1024,
        loss_cls=dict(type='StopGradAsymmetricLoss', gamma_neg=4.0, clip=0.05, eps=1e-8),
    ),
)
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=_base_.stage1_pipeline))  # x 2
epochs = 80
optim_wrapper = dict(
    type='AmpOptimWrapper',
    # published: 1e-4 and 1e-8, with losses that are sums over 24 images
    optimizer=dict(type='Adam', lr=1e-5, weight_decay=1e-4 / 24, eps=1e-8 / 24),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(flat_decay_mult=0.0),  # published: none of vectors
)
one_cycle = dict(type='GroupOneCycleLR', pct_start=0.1, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [one_cycle]
custom_hooks = [
    # 1 - decay 0.9997, of batch norm's statistics, too
    dict(type='ForeachEMAHook', momentum=3e-4, statistics=True, priority='ABOVE_NORMAL'),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=24)
