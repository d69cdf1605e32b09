"""SALGL on Corel5k in the common recipe; the classes' vectors are learned.

tools/train.py configs/salgl/salgl_efficientnet-lite0_corel5k160.py
2 cores, 74 words, frozen backbone: mAP 58.9 (standard, 3 seeds).
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.salgl'], allow_failed_imports=False)
num_classes = _base_.data_preprocessor.num_classes
neck = dict(type='SALGLNeck', in_channels=1280, num_classes=num_classes, node_channels=256)
neck.update(feedforward_channels=512, embed_dims=256, hidden_channels=256)
head = dict(type='LabelEmbedHead', num_classes=num_classes, in_channels=256)
loss_cls = dict(type='StopGradAsymmetricLoss', mean_over_classes=True, loss_weight=1000.0)
# 1000: the entropies are weighed for it
head.update(loss_cls=loss_cls, prior_prob=_base_.prior_prob)
parts = dict(neck=dict(_delete_=True, **neck), head=dict(_delete_=True, **head))
model = dict(type='NeckLossClassifier', **parts)
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 15)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=slower)
tuned_on = dict(config='salgl_efficientnet-lite0_corel5k160')
