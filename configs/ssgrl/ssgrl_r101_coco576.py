"""SSGRL on ResNet-101 with its published recipe: 576 px, batches of 4, no flip.

tools/train.py configs/ssgrl/ssgrl_r101_coco576.py
Paper: mAP 83.8 (AP of `sadcl`). Ours: not run.
"""

_base_ = [
    './_base_/ssgrl_r101.py',
    '../_base_/datasets/coco576.py',
    '../_base_/default_runtime.py',
]

pipeline = [*_base_.crop_pipeline, dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, drop_last=False, dataset=dict(pipeline=pipeline))
