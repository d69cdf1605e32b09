"""TDRG on ResNet-101 with its released recipe, which attends over the 32 images of a GPU.

tools/dist_train.sh configs/tdrg/tdrg_r101_coco448.py 2
Paper: mAP 84.6 (86.0 at 576 px: `_test576`). Ours: not run.
"""

_base_ = ['./_base_/tdrg_r101.py', '../_base_/datasets/coco448_labelled.py']

train_dataloader = dict(batch_size=32)  # 2 GPUs x 32 = 64
val_dataloader = dict(batch_size=32)  # on 2 GPUs, as published: the scores depend on it
test_dataloader = dict(batch_size=32)
