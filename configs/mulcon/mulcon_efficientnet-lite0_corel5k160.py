"""MulCon on Corel5k in one run: BCE and contrast of two views from the first epoch.

tools/train.py configs/mulcon/mulcon_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './_base_/mulcon_efficientnet-lite0_corel5k160.py'

data_preprocessor = dict(type='MultiViewDataPreprocessor')
train_dataloader = dict(dataset=dict(pipeline=_base_.two_views))
