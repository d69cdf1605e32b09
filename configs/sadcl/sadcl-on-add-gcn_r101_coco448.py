"""SADCL's losses and stages on the label embeddings of ADD-GCN, on 8 GPUs.

tools/dist_train.sh configs/sadcl/sadcl-on-add-gcn_r101_coco448.py 8
Nobody has published this. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

methods = ['projects.sadcl', 'projects.add_gcn']
custom_imports = dict(imports=methods, allow_failed_imports=False)
neck = dict(type='ADDGCNNeck', in_channels=2048, num_classes=80, embed_dims=1024)
model = dict(neck=dict(_delete_=True, **neck), head=dict(in_channels=1024))
