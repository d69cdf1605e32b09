"""Global average pool and a linear classifier on photographs of a shop, on a frozen backbone.

tools/train.py configs/sadcl/baseline_efficientnet-lite0_fashion112.py
Stored features, 3 seeds: docs/unknown_labels.md.
"""

_base_ = [
    '../_base_/models/baseline_efficientnet-lite0.py',
    '../_base_/datasets/fashion112.py',
    '../_base_/schedules/adamw_one-cycle_6e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(frozen_stages=8), head=dict(num_classes=115))
optim_wrapper = dict(optimizer=dict(lr=5e-3))
# about 10 / iterations (6 x 264)
custom_hooks = [dict(type='ForeachEMAHook', momentum=0.006, priority='ABOVE_NORMAL')]
