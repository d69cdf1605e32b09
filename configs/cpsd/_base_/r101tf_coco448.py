_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/datasets/coco448.py',
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
cpsd_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(448, 448)),
    dict(type='Cutout', shape=224, prob=1.0),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std='inf',
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=cpsd_pipeline))  # 2 GPUs x 12 = 24
epochs, lr = 80, 1e-5
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=lr, weight_decay=1e-4),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='GroupOneCycleLR', eta_max=lr, pct_start=0.1, end=epochs, convert_to_iter_based=True
    )
]
custom_hooks = [
    dict(type='ForeachEMAHook', momentum=3e-4, priority='ABOVE_NORMAL')  # 1 - decay 0.9997
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=24)
