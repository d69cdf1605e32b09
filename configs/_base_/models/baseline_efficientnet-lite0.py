custom_imports = dict(imports=['mlic'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='EfficientNetLite', frozen_stages=5),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=10,
        in_channels=1280,
        loss=dict(type='StopGradAsymmetricLoss'),
    ),
)
