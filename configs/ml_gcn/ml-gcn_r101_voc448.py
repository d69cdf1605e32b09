"""ML-GCN on Pascal VOC 2007. tools/dist_train.sh configs/ml_gcn/ml-gcn_r101_voc448.py 8

Needs GloVe's vectors (projects/ml_gcn/README.md). Difficult objects are negatives here, positives
in the released training. Paper: mAP 94.0. Ours: not run.
"""

_base_ = ['./_base_/ml-gcn_r101_448.py', '../_base_/datasets/voc448.py']

model = dict(head=dict(num_classes=20))
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=_base_.ml_gcn_pipeline))
