"""Query2Label on Corel5k in the common recipe: SARL with the asymmetric loss 0 / 2 / 0.

tools/train.py configs/query2label/query2label_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = '../sadcl/sarl_efficientnet-lite0_corel5k160.py'

model = dict(head=dict(loss_cls=dict(gamma_neg=2.0)))
# the best rate on held-out training images is the schedule's (docs/comparison.md)
tuned_on = dict(config='query2label_efficientnet-lite0_corel5k160')
