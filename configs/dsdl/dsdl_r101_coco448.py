"""DSDL with its released recipe. tools/dist_train.sh configs/dsdl/dsdl_r101_coco448.py 8

Needs GloVe's vectors (projects/dsdl/README.md). Paper: mAP 81.7. Ours: not run.
"""

_base_ = ['./_base_/dsdl_r101_448.py', '../_base_/datasets/coco448_labelled.py']

train_dataloader = dict(batch_size=4)  # 8 GPUs x 4 = 32
