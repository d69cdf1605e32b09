"""CPCL on Corel5k in the common recipe; 256 wide, the classes' vectors are learned.

tools/train.py configs/cpcl/cpcl_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.cpcl'], allow_failed_imports=False)
head = dict(type='CPCLHead', num_classes=_base_.data_preprocessor.num_classes, in_channels=1280)
head.update(hidden_channels=256, embed_dims=256)
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.2)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=slower)
tuned_on = dict(config='cpcl_efficientnet-lite0_corel5k160')
