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
        # binary cross-entropy at the published scale
        loss_cls=dict(type='StopGradAsymmetricLoss', mean_over_classes=True, loss_weight=1000.0),
        # The paper's formula. The published code leaves out most anchors and weighs the others by
        # 100: of B images it keeps about 1/B + (1 - 1/B) f of them, where f = sum p^2 / sum p over
        # the class frequencies p is 0.138 on COCO. With a GPU's 32 images there, that is 0.165:
        # 16 instead of 100 keeps about the size of the gradient.
        # gather: contrast over the whole batch, however many GPUs share it
        loss_sscl=dict(
            type='SSCLLoss', temperature=0.2, anchors='all', loss_weight=16.0, gather=True
        ),
        loss_pscl=dict(type='PSCLLoss', temperature=0.07, loss_weight=50.0, gather=True),
    ),
)
