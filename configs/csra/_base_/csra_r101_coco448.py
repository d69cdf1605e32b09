_base_ = '../../_base_/datasets/coco448_labelled.py'

custom_imports = dict(imports=['mlic'], allow_failed_imports=False)

# images between 0 and 1, as published: without ImageNet's mean and std
data_preprocessor = dict(mean=[0.0] * 3, std=[255.0] * 3)
model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    head=dict(
        type='CSRAClsHead',
        num_classes=80,
        in_channels=2048,
        num_heads=6,
        lam=0.5,
        # the mean over classes, where mmpretrain sums
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1 / 80),
    ),
)
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.7, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))  # 8 GPUs x 2 = 16
val_cfg = dict()
test_cfg = dict()
