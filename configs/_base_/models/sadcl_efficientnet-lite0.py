custom_imports = dict(imports=['projects.sadcl'], allow_failed_imports=False)
num_classes = 10
embed_dims = 256

model = dict(
    type='ImageClassifier',
    backbone=dict(type='EfficientNetLite', frozen_stages=5),
    neck=dict(
        type='SARLNeck',
        in_channels=1280,
        num_classes=num_classes,
        embed_dims=embed_dims,
        feedforward_channels=512,
    ),
    head=dict(
        type='SADCLHead',
        num_classes=num_classes,
        in_channels=embed_dims,
        proj_channels=128,
        prior_prob=0.2,
        loss_cls=dict(type='StopGradAsymmetricLoss', loss_weight=1.0),
        loss_sscl=dict(type='SSCLLoss', anchors='all', loss_weight=1.0),
        loss_pscl=dict(type='PSCLLoss', loss_weight=1.0),
    ),
)
