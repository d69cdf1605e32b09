"""ML-Decoder on Corel5k in the common recipe: 100 queries for 260 words.

tools/train.py configs/ml_decoder/ml-decoder_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/comparison.md.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.ml_decoder'], allow_failed_imports=False)
head = dict(type='MLDecoderHead', num_classes=_base_.data_preprocessor.num_classes)
head.update(in_channels=1280, embed_dims=256, num_heads=4, feedforward_channels=512)
head.update(prior_prob=_base_.prior_prob)
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 15)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=slower)
tuned_on = dict(config='ml-decoder_efficientnet-lite0_corel5k160')
