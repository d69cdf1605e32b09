"""SALGL on ResNet-101, everything trained."""

custom_imports = dict(imports=['projects.salgl'], allow_failed_imports=False)
num_classes = 80

model = dict(
    type='NeckLossClassifier',  # its neck counts the labels
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(
        type='SALGLNeck',
        in_channels=2048,
        num_classes=num_classes,
        vectors=dict(dims=768, file='data/bert/coco.txt'),  # file=None, dims=2048: learned
    ),
    head=dict(
        type='LabelEmbedHead',
        num_classes=num_classes,
        in_channels=2048,
        loss_cls=dict(
            type='StopGradAsymmetricLoss', gamma_neg=2.0, mean_over_classes=True, loss_weight=1000.0
        ),
    ),
)
