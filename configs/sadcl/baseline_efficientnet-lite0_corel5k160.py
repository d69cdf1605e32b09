"""Global average pool and a linear classifier on Corel5k.

tools/train.py configs/sadcl/baseline_efficientnet-lite0_corel5k160.py
RESULT
"""

_base_ = [
    '../_base_/models/baseline_efficientnet-lite0.py',
    '../_base_/datasets/corel5k160.py',
    '../_base_/schedules/adamw_one-cycle_6e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=260))
