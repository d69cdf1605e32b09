_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.cpcl'], allow_failed_imports=False)
model = dict(
    head=dict(
        type='CPCLHead',
        num_classes=80,
        in_channels=2048,
        vectors=dict(file='data/glove/glove.6B.300d.txt'),
        loss_triplet=dict(type='MarginLoss', margin=2.0),
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
