"""CSRA on Corel5k, for a wholly frozen backbone.

tools/train.py configs/csra/csra_efficientnet-lite0_corel5k160_frozen.py
Over 74 words, stored features, 3 seeds: projects/sadcl/README.md.
"""

_base_ = './csra_efficientnet-lite0_corel5k160.py'

model = dict(backbone=dict(frozen_stages=8))
# of 5e-4, 2e-3, 5e-3, 1e-2, 2e-2 the best on a tenth of the training images
optim_wrapper = dict(optimizer=dict(lr=2e-2))
