"""SALGL on ResNet-101 in the recipe of a public reproduction; the authors released no training.

tools/dist_train.sh configs/salgl/salgl_r101_coco448.py 8
Needs vectors (projects/salgl/README.md). Paper: mAP 85.75 (AP of `sadcl`). Ours: not run.
"""

_base_ = [
    './_base_/salgl_r101.py',
    '../_base_/datasets/coco448.py',
    '../_base_/schedules/adamw_one-cycle_80e.py',
    '../_base_/default_runtime.py',
]

flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
pipeline = [*_base_.stage1_pipeline[:2], flip, *_base_.stage1_pipeline[2:]]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=pipeline))  # 8 GPUs x 16 = 128
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-2))
average = dict(_base_.custom_hooks[0], momentum=3e-4, statistics=True)  # 1 - decay 0.9997
custom_hooks = [average, _base_.custom_hooks[1]]
auto_scale_lr = dict(base_batch_size=128)
