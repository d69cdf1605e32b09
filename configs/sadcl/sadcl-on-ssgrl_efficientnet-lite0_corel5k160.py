"""SADCL's head and losses on SSGRL's label embeddings, on Corel5k.

tools/train.py configs/sadcl/sadcl-on-ssgrl_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160.py'

custom_imports = dict(imports=['projects.sadcl', 'projects.ssgrl'], allow_failed_imports=False)
neck = dict(type='SSGRLNeck', in_channels=1280, num_classes=_base_.num_classes)
neck.update(node_channels=256, embed_dims=256, hidden_channels=256)
model = dict(neck=dict(_delete_=True, **neck))
