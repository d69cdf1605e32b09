"""MulCon in the small, common recipe: SARL's width, schedule and images."""

_base_ = [
    '../../_base_/datasets/corel5k160.py',
    '../../_base_/schedules/adamw_one-cycle_6e.py',
    '../../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.mulcon'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='EfficientNetLite', frozen_stages=5),
    neck=dict(type='MulConNeck', in_channels=1280, num_classes=260, embed_dims=256, token_dims=256),
    # an image has 3.5 of 260 words
    head=dict(type='MulConHead', num_classes=260, in_channels=256, prior_prob=0.0135),
)
two_views = [
    dict(type='LoadImageStrict'),
    dict(type='MultiView', num_views=2, transforms=[_base_.train_pipeline[1:-1]]),
    dict(type='PackInputs'),
]
