"""Average pool and a linear classifier, the first row of the paper's ablation.

tools/dist_train.sh configs/sadcl/baseline_r101_coco448.py 8
Paper: mAP 81.5. Ours: not run.
"""

_base_ = './sarl_r101_coco448.py'

custom_imports = dict(imports=['mlic'], allow_failed_imports=False)
model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=2048,
        loss=dict(type='StopGradAsymmetricLoss', gamma_neg=4.0, loss_weight=1000 / 80),
    ),
)
