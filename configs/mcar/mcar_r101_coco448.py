"""MCAR on ResNet-101 with its released recipe.

tools/dist_train.sh configs/mcar/mcar_r101_coco448.py 2
Batch norm sees 8 images and 32 regions a GPU. Paper: mAP 83.8. Ours: not run.
"""

_base_ = ['./_base_/mcar_r101.py', '../_base_/datasets/coco448_labelled.py']

train_dataloader = dict(batch_size=8, dataset=dict(pipeline=_base_.mcar_pipeline))  # 2 GPUs
