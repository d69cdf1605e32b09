"""CSRA on Corel5k, for a wholly frozen backbone.

tools/train.py configs/csra/csra_efficientnet-lite0_corel5k160_frozen.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = './csra_efficientnet-lite0_corel5k160.py'

model = dict(backbone=dict(frozen_stages=8))
tuned_on = dict(config='csra_efficientnet-lite0_corel5k160_frozen')
