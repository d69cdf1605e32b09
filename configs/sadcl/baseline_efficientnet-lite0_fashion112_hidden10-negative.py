"""10 % of the training labels are hidden, and assumed negative.

tools/train.py configs/sadcl/baseline_efficientnet-lite0_fashion112_hidden10-negative.py
Stored features, 3 seeds: docs/unknown_labels.md.
"""

_base_ = './baseline_efficientnet-lite0_fashion112_hidden10.py'

data_preprocessor = dict(unknown='negative')
