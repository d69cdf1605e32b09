"""The demo: SADCL on scenes of handwritten digits (`make demo`).

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_digits128.py
2 cores, 3 min, seed 1: mAP 93.0 (standard).
"""

_base_ = [
    '../_base_/models/sadcl_efficientnet-lite0.py',
    '../_base_/datasets/digits128.py',
    '../_base_/schedules/adamw_one-cycle_5e.py',
    '../_base_/default_runtime.py',
]

# digits of 24 to 56 px want a finer map than 4 x 4: stage 5 has 8 x 8 cells, 112 channels
model = dict(backbone=dict(frozen_stages=2, out_stage=5), neck=dict(in_channels=112))
