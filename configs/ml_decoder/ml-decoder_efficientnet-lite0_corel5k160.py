"""ML-Decoder on Corel5k in the common recipe: 100 queries for 260 words.

tools/train.py configs/ml_decoder/ml-decoder_efficientnet-lite0_corel5k160.py
2 cores: not run.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.ml_decoder'], allow_failed_imports=False)
head = dict(type='MLDecoderHead', num_classes=260, in_channels=1280, embed_dims=256, num_heads=4)
head.update(feedforward_channels=512, prior_prob=0.0135)  # an image has 3.5 of 260 words
model = dict(neck=None, head=dict(_delete_=True, **head))
slower = dict(custom_keys=dict(backbone=dict(lr_mult=1 / 15)))  # 1e-4, as in the other configs
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=slower)
tuned_on = dict(config='ml-decoder_efficientnet-lite0_corel5k160')
