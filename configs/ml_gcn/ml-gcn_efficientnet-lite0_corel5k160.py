"""ML-GCN on Corel5k in the common recipe; the classes' vectors are learned.

tools/train.py configs/ml_gcn/ml-gcn_efficientnet-lite0_corel5k160.py
2 cores: not run.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.ml_gcn'], allow_failed_imports=False)
head = dict(type='MLGCNHead', num_classes=_base_.data_preprocessor.num_classes, in_channels=1280)
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.2)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=slower)
