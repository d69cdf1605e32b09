"""The second stage on Corel5k without the loss between samples.

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_corel5k160_stage2-no-sscl.py \\
    --cfg-options load_from=work_dirs/sarl_efficientnet-lite0_corel5k160/epoch_6.pth
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160_stage2.py'

model = dict(head=dict(loss_sscl=None))
