"""MulCon without the contrast, its first step, on Corel5k.

tools/train.py configs/mulcon/mulcon_efficientnet-lite0_corel5k160_stage1.py
2 cores: not run.
"""

_base_ = './_base_/mulcon_efficientnet-lite0_corel5k160.py'

model = dict(head=dict(num_views=1, loss_con=None))
