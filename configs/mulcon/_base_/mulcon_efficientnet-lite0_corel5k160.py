"""MulCon in the small, common recipe: SARL's width, schedule and images."""

_base_ = [
    '../../_base_/datasets/corel5k160.py',
    '../../_base_/schedules/adamw_one-cycle_6e.py',
    '../../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.mulcon'], allow_failed_imports=False)

num_classes = _base_.data_preprocessor.num_classes
model = dict(
    type='ImageClassifier',
    backbone=dict(type='EfficientNetLite', frozen_stages=5),
    neck=dict(
        type='MulConNeck',
        in_channels=1280,
        num_classes=num_classes,
        embed_dims=256,
        token_dims=256,
    ),
    head=dict(
        type='MulConHead',
        num_classes=num_classes,
        in_channels=256,
        prior_prob=_base_.prior_prob,
    ),
)
two_views = [
    dict(type='LoadImageStrict'),
    dict(type='MultiView', num_views=2, transforms=[_base_.train_pipeline[1:-1]]),
    dict(type='PackInputs'),
]
