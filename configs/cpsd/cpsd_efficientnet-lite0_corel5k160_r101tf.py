"""R101TF's neck and head on Corel5k in the common recipe; the classes' vectors are learned.

tools/train.py configs/cpsd/cpsd_efficientnet-lite0_corel5k160_r101tf.py
2 cores: not run.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.cpsd'], allow_failed_imports=False)
classes = dict(num_classes=_base_.data_preprocessor.num_classes)
neck = dict(type='R101TFNeck', in_channels=1280, embed_dims=256, num_layers=1, **classes)
head = dict(type='R101TFHead', in_channels=256, loss_cls=dict(type='StopGradAsymmetricLoss'))
neck.update(_delete_=True, feedforward_channels=256)
model = dict(neck=neck, head=dict(_delete_=True, **head, **classes))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.2)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=slower)
