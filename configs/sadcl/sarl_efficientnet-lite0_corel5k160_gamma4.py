"""SARL on Corel5k with the published first stage's focus on hard negatives.

tools/train.py configs/sadcl/sarl_efficientnet-lite0_corel5k160_gamma4.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sarl_efficientnet-lite0_corel5k160.py'

model = dict(head=dict(loss_cls=dict(gamma_neg=4.0)))
