"""COCO 2014 at 384 px: coco448.py with smaller images."""

_base_ = './coco448.py'

size = 384
stage1_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='Cutout', shape=size // 2, prob=1.0),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std='inf',
    ),
    dict(type='PackInputs'),
]
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(440, 440)),  # 440 / 384 is about 512 / 448
    dict(type='MultiScaleCrop', scale=size),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
