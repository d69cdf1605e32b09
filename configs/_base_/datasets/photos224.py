"""Photographs at 224 px, of any data set: a config adds `num_classes`, and the type and files."""

_base_ = './small.py'

size = 224
train_pipeline = [
    # large photographs are decoded at a half, a quarter or an eighth of their size
    dict(type='LoadImageStrict', reduce_to=2 * size),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict', reduce_to=2 * size),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
