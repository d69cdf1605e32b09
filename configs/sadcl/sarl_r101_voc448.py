"""SARL alone, no contrastive losses, on Pascal VOC 2007.

tools/dist_train.sh configs/sadcl/sarl_r101_voc448.py 8
Paper: this row's number was not found. Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/voc448.py',
    '../_base_/schedules/adamw_one-cycle_80e.py',
    '../_base_/default_runtime.py',
]

num_classes = _base_.data_preprocessor.num_classes
head = dict(loss_cls=dict(gamma_neg=4.0), loss_sscl=None, loss_pscl=None)
model = dict(neck=dict(num_classes=num_classes), head=dict(num_classes=num_classes, **head))
train_dataloader = dict(dataset=dict(pipeline=_base_.stage1_pipeline))
