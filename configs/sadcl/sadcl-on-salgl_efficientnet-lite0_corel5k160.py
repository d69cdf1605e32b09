"""SADCL's head and losses on SALGL's label embeddings, on Corel5k.

tools/train.py configs/sadcl/sadcl-on-salgl_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.sadcl', 'projects.salgl'], allow_failed_imports=False)
neck = dict(type='SALGLNeck', in_channels=1280, num_classes=_base_.num_classes)
neck.update(node_channels=256, feedforward_channels=512, embed_dims=256, hidden_channels=256)
neck.update(entropy_weights=(0.26, 26.0))  # times 260 / 1000, as the classification loss
model = dict(type='NeckLossClassifier', neck=dict(_delete_=True, **neck))
