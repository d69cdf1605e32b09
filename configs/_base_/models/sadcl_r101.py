custom_imports = dict(imports=['projects.sadcl'], allow_failed_imports=False)
num_classes = 80

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        frozen_stages=1,  # stem and layer1
        norm_eval=True,
        norm_cfg=dict(type='BN', requires_grad=False),  # BatchNorm is frozen everywhere
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(type='SARLNeck', in_channels=2048, num_classes=num_classes),
    head=dict(
        type='SADCLHead',
        num_classes=num_classes,
        in_channels=2048,
        # binary cross-entropy: sum over classes x 1000 / 80 = published mean x 1000
        loss_cls=dict(type='StopGradAsymmetricLoss', loss_weight=1000 / num_classes),
        # 100 goes with the published anchors; the formula's own gradient is about 6 times larger.
        # gather: contrast over the whole batch, however many GPUs share it
        loss_sscl=dict(
            type='SSCLLoss', temperature=0.2, anchors='official', loss_weight=100.0, gather=True
        ),
        loss_pscl=dict(type='PSCLLoss', temperature=0.07, loss_weight=50.0, gather=True),
    ),
)
