custom_imports = dict(imports=['projects.add_gcn'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(type='ADDGCNNeck', in_channels=2048, num_classes=80),
    head=dict(type='ADDGCNHead', num_classes=80),
)
