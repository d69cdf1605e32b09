"""The control of `sadcl_…_corel5k160_two-stage`: contrastive losses of weight 0, all else equal.

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_corel5k160_two-stage-control.py
Over 74 words, stored features, 3 seeds, mAP 60.9: docs/when_contrast_helps.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160_two-stage.py'

model = dict(head=dict(loss_sscl=dict(loss_weight=0.0), loss_pscl=dict(loss_weight=0.0)))
