"""Supervised contrast of whole images on Corel5k, next to the linear baseline.

tools/train.py configs/mulcon/mulcon_efficientnet-lite0_corel5k160_image-level.py
Over 74 words, stages 6 to 8 trained, three seeds: mAP 65.8 (docs/when_contrast_helps.md).
"""

_base_ = './mulcon_efficientnet-lite0_corel5k160.py'

model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(
        _delete_=True,
        type='ImageContrastHead',
        num_classes=_base_.data_preprocessor.num_classes,
        in_channels=1280,
    ),
)
# the baseline's rates
slower = dict(custom_keys=dict(backbone=dict(lr_mult=0.02)))
optim_wrapper = dict(optimizer=dict(lr=5e-3), paramwise_cfg=slower)
