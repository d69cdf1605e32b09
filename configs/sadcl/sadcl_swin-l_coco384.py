"""SADCL with a Swin-L at 384 px. tools/dist_train.sh configs/sadcl/sadcl_swin-l_coco384.py 8

Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_swin-l.py',
    '../_base_/datasets/coco384.py',
    '../_base_/schedules/adamw_one-cycle_2x80e.py',
    '../_base_/default_runtime.py',
]

# first stage: ASL and strong augmentation; from epoch 81 binary cross-entropy and crops
model = dict(head=dict(loss_cls=dict(gamma_neg=4.0)))
train_dataloader = dict(dataset=dict(pipeline=_base_.stage1_pipeline))
second_stage = dict(train_pipeline=_base_.train_pipeline, loss=_base_.model.head.loss_cls)
second_stage['action_epoch'] = _base_.epochs + 1
custom_hooks = [*_base_.custom_hooks, dict(type='SwitchRecipeHook', schedule=[second_stage])]
