model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    head=dict(
        type='CTranHead',
        num_classes=80,
        in_channels=2048,
        # the published sum over a batch of 16 images, on any number of GPUs
        loss=dict(type='MultiLabelSoftMarginLoss', mean_over_classes=False, loss_weight=16),
    ),
)
