"""TDRG on Corel5k in the common recipe; a cell attends to the cells of its image.

tools/train.py configs/tdrg/tdrg_efficientnet-lite0_corel5k160.py
2 cores, 74 words, frozen backbone: mAP 55.2 (standard, 3 seeds).
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.tdrg'], allow_failed_imports=False)
head = dict(type='TDRGHead', num_classes=_base_.data_preprocessor.num_classes)
head.update(in_channels=(112, 1280), embed_dims=128, graph_dims=128)
head.update(num_layers=1, feedforward_channels=256)
backbone = dict(out_stage=(5, 8))  # 10 x 10 and 5 x 5 cells
model = dict(backbone=backbone, neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 150)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-2), paramwise_cfg=slower)
tuned_on = dict(config='tdrg_efficientnet-lite0_corel5k160')
