"""Photographs of a shop at 160 px; `fashion112.py` has the command that prepares them."""

_base_ = './fashion112.py'

train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=160, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(160, 160)),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
