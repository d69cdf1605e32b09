"""SARL alone, no contrastive losses: the first stage of SADCL, and the paper's ablation.

tools/dist_train.sh configs/sadcl/sarl_r101_coco448.py 8
Paper: mAP 85.0. Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/coco448.py',
    '../_base_/schedules/adamw_one-cycle_80e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(loss_cls=dict(gamma_neg=4.0), loss_sscl=None, loss_pscl=None))
train_dataloader = dict(dataset=dict(pipeline=_base_.stage1_pipeline))
