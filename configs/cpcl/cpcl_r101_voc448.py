"""CPCL on Pascal VOC 2007. tools/dist_train.sh configs/cpcl/cpcl_r101_voc448.py 8

Needs GloVe's vectors (projects/cpcl/README.md). Paper, by SADCL's poster: mAP 94.4. Ours: not run.
"""

_base_ = ['./_base_/cpcl_r101_448.py', '../_base_/datasets/voc448.py']

model = dict(head=dict(num_classes=20))
train_dataloader = dict(batch_size=2)
param_scheduler = [dict(type='MultiStepLR', milestones=[40], gamma=0.1)]
train_cfg = dict(max_epochs=100)
