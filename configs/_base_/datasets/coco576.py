"""COCO 2014 at 576 px as SSGRL and C-Tran crop it: squares of five sizes from one of 640 px."""

_base_ = './coco448.py'

size = 576
canvas = 640
resize = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(canvas, canvas)),
]
crops = [[dict(type='RandomCrop', crop_size=side)] for side in (640, 576, 512, 384, 320)]
train_pipeline = [
    *resize,
    dict(type='RandomChoice', transforms=crops),
    dict(type='Resize', scale=(size, size)),
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
