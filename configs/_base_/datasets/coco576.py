"""COCO 2014 at 576 px, cut from 640, as C-Tran has it; SSGRL does not flip. Test images are the
middle.
"""

_base_ = './coco448.py'

size = 576
canvas = 640
crops = [
    [dict(type='RandomCrop', crop_size=640)],
    [dict(type='RandomCrop', crop_size=576)],
    [dict(type='RandomCrop', crop_size=512)],
    [dict(type='RandomCrop', crop_size=384)],
    [dict(type='RandomCrop', crop_size=320)],
]
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(canvas, canvas)),
    dict(type='RandomChoice', transforms=crops),
    dict(type='Resize', scale=(size, size)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(canvas, canvas)),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
