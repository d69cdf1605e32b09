"""MCAR on ResNet-101 and Pascal VOC 2007 with its released recipe.

tools/dist_train.sh configs/mcar/mcar_r101_voc448.py 2
Paper: mAP 94.8. Ours: not run.
"""

_base_ = ['./_base_/mcar_r101.py', '../_base_/datasets/voc448.py']

model = dict(head=dict(num_classes=20))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=_base_.mcar_pipeline))  # 2 GPUs
