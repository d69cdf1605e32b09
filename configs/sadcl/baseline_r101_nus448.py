"""Average pool and a linear classifier on NUS-WIDE, the first row of the paper's ablation.

tools/dist_train.sh configs/sadcl/baseline_r101_nus448.py 8
Paper: this row's number was not found. Ours: not run.
"""

_base_ = './sarl_r101_nus448.py'

custom_imports = dict(imports=['mlic'], allow_failed_imports=False)
head = dict(type='MultiLabelLinearClsHead', num_classes=_base_.data_preprocessor.num_classes)
head.update(in_channels=2048, loss=_base_.model.head.loss_cls)
model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'), head=dict(_delete_=True, **head)
)
