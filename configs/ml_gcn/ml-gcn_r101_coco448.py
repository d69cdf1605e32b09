"""ML-GCN with its released recipe. tools/dist_train.sh configs/ml_gcn/ml-gcn_r101_coco448.py 8

Needs GloVe's vectors (projects/ml_gcn/README.md). Paper: mAP 83.0. Ours: not run.
"""

_base_ = ['./_base_/ml-gcn_r101_448.py', '../_base_/datasets/coco448_labelled.py']

dataset = dict(pipeline=_base_.ml_gcn_pipeline)
train_dataloader = dict(batch_size=2, dataset=dataset)  # 8 GPUs x 2 = 16
