model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
)
