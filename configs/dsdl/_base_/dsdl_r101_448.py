_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.dsdl'], allow_failed_imports=False)
model = dict(
    head=dict(
        type='DSDLHead',
        num_classes=80,
        in_channels=2048,
        vectors=dict(file='data/glove/glove.6B.300d.txt'),
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='MultiStepLR', milestones=[40], gamma=0.1)]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=32)
