"""TDRG on ResNet-101 and Pascal VOC 2007 with its released recipe.

tools/dist_train.sh configs/tdrg/tdrg_r101_voc448.py 2
Paper: mAP 95.0. Ours: not run.
"""

_base_ = ['./_base_/tdrg_r101.py', '../_base_/datasets/voc448.py']

model = dict(head=dict(num_classes=20))
train_dataloader = dict(batch_size=32)  # 2 GPUs x 32 = 64
val_dataloader = dict(batch_size=32)
test_dataloader = dict(batch_size=32)
