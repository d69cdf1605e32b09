# The mean of the feature map and a linear classifier, fine-tuned with the backbone.
_base_ = ['./adamw_cosine_10e.py', '../../_base_/default_runtime.py']

custom_imports = dict(imports=['mlic'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        loss=dict(type='StopGradAsymmetricLoss'),  # binary cross-entropy, summed over classes
    ),
)
