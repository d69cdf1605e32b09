"""SADCL's losses and stages on the label embeddings of ADD-GCN, on Corel5k.

tools/train.py configs/sadcl/sadcl-on-add-gcn_efficientnet-lite0_corel5k160.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160.py'

methods = ['projects.sadcl', 'projects.add_gcn']
custom_imports = dict(imports=methods, allow_failed_imports=False)
neck = dict(type='ADDGCNNeck', in_channels=1280, num_classes=_base_.num_classes)
model = dict(neck=dict(_delete_=True, embed_dims=_base_.embed_dims, **neck))
