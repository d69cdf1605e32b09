"""voc448.py at 512 px."""

_base_ = './voc448.py'

size = 512
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='MultiScaleCrop', scale=size, canvas=size + 64),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    _base_.test_pipeline[-1],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
