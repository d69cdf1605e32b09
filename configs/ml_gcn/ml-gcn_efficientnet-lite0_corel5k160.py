"""ML-GCN on Corel5k in the common recipe; the classes' vectors are learned.

tools/train.py configs/ml_gcn/ml-gcn_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.ml_gcn'], allow_failed_imports=False)
head = dict(type='MLGCNHead', num_classes=_base_.data_preprocessor.num_classes, in_channels=1280)
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 15)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=slower)
tuned_on = dict(config='ml-gcn_efficientnet-lite0_corel5k160')
