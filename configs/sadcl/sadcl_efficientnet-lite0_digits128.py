_base_ = [
    '../_base_/models/sadcl_efficientnet-lite0.py',
    '../_base_/datasets/digits128.py',
    '../_base_/schedules/adamw_one-cycle_small.py',
    '../_base_/default_runtime.py',
]
