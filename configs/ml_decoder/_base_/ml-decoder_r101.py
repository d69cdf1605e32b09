model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    # 80 classes are fewer than 100 queries: each has its own
    head=dict(type='MLDecoderHead', num_classes=80, in_channels=2048),
)
