"""The hidden labels are left out, and scores add up to the expected labels, EPR (Cole et al. 2021).

tools/train.py configs/sadcl/baseline_efficientnet-lite0_digits128_hidden-expected-positive.py
2 cores, seed 1: mAP 47.5; 49.8 on the validation images (standard).
"""

_base_ = './baseline_efficientnet-lite0_digits128_hidden.py'

asymmetric = dict(type='StopGradAsymmetricLoss')
# the inner loss is summed over ten classes
loss = dict(_delete_=True, type='ExpectedPositiveLoss', loss=asymmetric, expected=2.3, weight=10.0)
model = dict(head=dict(loss=loss))
