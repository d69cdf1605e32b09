"""COCO 2014 at 576 px: squares of five sizes out of 640 px. C-Tran flips them, SSGRL does not."""

_base_ = './coco448.py'

size = 576
canvas = 640
resize = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(canvas, canvas)),
]
crops = [[dict(type='RandomCrop', crop_size=side)] for side in (640, 576, 512, 384, 320)]
crop_pipeline = [
    *resize,
    dict(type='RandomChoice', transforms=crops),
    dict(type='Resize', scale=(size, size)),
]
train_pipeline = [
    *crop_pipeline,
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    *resize,
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
