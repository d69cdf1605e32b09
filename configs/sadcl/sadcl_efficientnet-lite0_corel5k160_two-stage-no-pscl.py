"""SADCL on Corel5k in two stages without the prototypes' loss.

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_corel5k160_two-stage-no-pscl.py
On 115 tags of a shop, stored features, 3 seeds: docs/when_contrast_helps.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160_two-stage.py'

model = dict(head=dict(loss_pscl=None))
