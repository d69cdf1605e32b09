_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.mcar'], allow_failed_imports=False)
model = dict(
    type='MCARClassifier',
    # which pooling the published numbers are of is not said; the released F1 counts from .6
    head=dict(type='MCARHead', num_classes=80, in_channels=2048, thr=0.6),
)
mcar_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(448, 448)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=None)
param_scheduler = [dict(type='MultiStepLR', milestones=[30, 50], gamma=0.1)]
train_cfg = dict(max_epochs=60)
