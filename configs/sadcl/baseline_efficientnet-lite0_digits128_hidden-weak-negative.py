"""The hidden labels are weak negatives, WAN (Cole et al., CVPR 2021).

tools/train.py configs/sadcl/baseline_efficientnet-lite0_digits128_hidden-weak-negative.py
2 cores, seed 1: mAP 48.9; 51.5 on the validation images (standard).
"""

_base_ = './baseline_efficientnet-lite0_digits128_hidden.py'

asymmetric = dict(type='StopGradAsymmetricLoss')
loss = dict(_delete_=True, type='WeakNegativeLoss', loss=asymmetric)
model = dict(head=dict(loss=loss))
