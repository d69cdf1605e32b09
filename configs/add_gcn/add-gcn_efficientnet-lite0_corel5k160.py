"""ADD-GCN on Corel5k in the common recipe.

tools/train.py configs/add_gcn/add-gcn_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.add_gcn'], allow_failed_imports=False)
num_classes = _base_.data_preprocessor.num_classes
neck = dict(type='ADDGCNNeck', in_channels=1280, num_classes=num_classes, embed_dims=256)
head = dict(type='ADDGCNHead', num_classes=num_classes, in_channels=256)
model = dict(neck=dict(_delete_=True, **neck), head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.02)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=5e-3), paramwise_cfg=slower)
tuned_on = dict(config='add-gcn_efficientnet-lite0_corel5k160')
