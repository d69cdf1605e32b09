"""C-Tran on Corel5k in the common recipe: 25 cells and 260 labels of 256 numbers.

tools/train.py configs/c_tran/c-tran_efficientnet-lite0_corel5k160.py
2 cores, 74 words, frozen backbone: mAP 60.2 (standard, 3 seeds).
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.c_tran'], allow_failed_imports=False)
head = dict(type='CTranHead', num_classes=_base_.data_preprocessor.num_classes, in_channels=1280)
head.update(embed_dims=256, feedforward_channels=512, prior_prob=_base_.prior_prob)
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.2)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=slower)
# the best rate on held-out training images (docs/comparison.md)
tuned_on = dict(config='c-tran_efficientnet-lite0_corel5k160')
