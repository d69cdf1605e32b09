"""CSRA on Corel5k in the common recipe: one head, lambda 0.1.

tools/train.py configs/csra/csra_efficientnet-lite0_corel5k160.py
2 cores: not run.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

model = dict(
    neck=None,
    head=dict(type='CSRAClsHead', num_heads=1, lam=0.1),
)
