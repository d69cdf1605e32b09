"""60 % of the training labels are hidden, and weak negatives, WAN (Cole et al. 2021).

tools/train.py configs/sadcl/baseline_efficientnet-lite0_fashion112_hidden60-weak-negative.py
Stored features, 3 seeds: docs/unknown_labels.md.
"""

_base_ = './baseline_efficientnet-lite0_fashion112_hidden60.py'

asymmetric = dict(type='StopGradAsymmetricLoss')
loss = dict(_delete_=True, type='WeakNegativeLoss', loss=asymmetric)
model = dict(head=dict(loss=loss))
