"""ADD-GCN on ResNet-101 with its released recipe, on one GPU: batch norm is of 16 images.

tools/train.py configs/add_gcn/add-gcn_r101_coco448.py
Paper: mAP 84.2 (85.2 at 576 px: `_test576`). Ours: not run.
"""

_base_ = ['./_base_/add-gcn_r101.py', '../_base_/datasets/coco448_labelled.py']

train_dataloader = dict(batch_size=16)
