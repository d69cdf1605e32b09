"""Global average pool and a linear classifier on Corel5k, for a wholly frozen backbone.

tools/train.py configs/sadcl/baseline_efficientnet-lite0_corel5k160_frozen.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './baseline_efficientnet-lite0_corel5k160.py'

model = dict(backbone=dict(frozen_stages=8))
tuned_on = dict(config='baseline_efficientnet-lite0_corel5k160_frozen')
