"""SADCL on photographs, all but the data: docs/datasets.md."""

_base_ = [
    '../../_base_/models/sadcl_efficientnet-lite0.py',
    '../../_base_/datasets/photos224.py',
    '../../_base_/schedules/adamw_one-cycle_6e_contrast.py',
    '../../_base_/default_runtime.py',
]
