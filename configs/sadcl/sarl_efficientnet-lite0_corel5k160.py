"""SARL without contrastive losses on Corel5k.

tools/train.py configs/sadcl/sarl_efficientnet-lite0_corel5k160.py
2 cores, 18 min, seed 1: mAP 62.9 over 74 frequent words, 39.3 of all 260 (standard).
"""

_base_ = [
    '../_base_/models/sadcl_efficientnet-lite0.py',
    '../_base_/datasets/corel5k160.py',
    '../_base_/schedules/adamw_one-cycle_6e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    neck=dict(num_classes=260),
    # an image has 3.5 of 260 words
    head=dict(num_classes=260, prior_prob=0.0135, loss_sscl=None, loss_pscl=None),
)
# the best rate on held-out training images is the schedule's (docs/comparison.md)
tuned_on = dict(config='sarl_efficientnet-lite0_corel5k160')
