"""SADCL in two stages on Pascal VOC 2007, on 8 GPUs.

tools/dist_train.sh configs/sadcl/sadcl_r101_voc448.py 8
Paper: this row's number was not found. Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/voc448.py',
    '../_base_/schedules/adamw_one-cycle_2x80e.py',
    '../_base_/default_runtime.py',
]

num_classes = _base_.data_preprocessor.num_classes
first_stage = dict(num_classes=num_classes, loss_cls=dict(gamma_neg=4.0))
model = dict(neck=dict(num_classes=num_classes), head=first_stage)
train_dataloader = dict(dataset=dict(pipeline=_base_.stage1_pipeline))
second_stage = dict(train_pipeline=_base_.train_pipeline, loss=_base_.model.head.loss_cls)
second_stage['action_epoch'] = _base_.epochs + 1
custom_hooks = [*_base_.custom_hooks, dict(type='SwitchRecipeHook', schedule=[second_stage])]
