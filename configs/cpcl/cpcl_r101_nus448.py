"""CPCL on NUS-WIDE. tools/dist_train.sh configs/cpcl/cpcl_r101_nus448.py 8

Needs GloVe's vectors (projects/cpcl/README.md). Paper's mAP: not found. Ours: not run.
"""

_base_ = ['./_base_/cpcl_r101_448.py', '../_base_/datasets/nus448.py']

model = dict(head=dict(num_classes=81, loss_triplet=dict(margin=1.0)))
train_dataloader = dict(batch_size=2)
param_scheduler = [dict(type='MultiStepLR', milestones=[30], gamma=0.1)]
train_cfg = dict(max_epochs=100)
