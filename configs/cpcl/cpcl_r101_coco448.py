"""CPCL with its released recipe. tools/dist_train.sh configs/cpcl/cpcl_r101_coco448.py 8

Needs GloVe's vectors (projects/cpcl/README.md). Paper's mAP: not found. Ours: not run.
"""

_base_ = ['./_base_/cpcl_r101_448.py', '../_base_/datasets/coco448_labelled.py']

train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
param_scheduler = [dict(type='MultiStepLR', milestones=[30], gamma=0.1)]
train_cfg = dict(max_epochs=170)
