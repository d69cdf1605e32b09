"""SADCL's head, losses and recipe on SALGL's label embeddings instead of SARL's.

tools/dist_train.sh configs/sadcl/sadcl-on-salgl_r101_coco448.py 8
No paper has it. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

custom_imports = dict(imports=['projects.sadcl', 'projects.salgl'], allow_failed_imports=False)
neck = dict(type='SALGLNeck', in_channels=2048, num_classes=_base_.num_classes)
neck.update(vectors=dict(dims=2048))  # learned, one of the paper's options: needs no file
model = dict(type='NeckLossClassifier', neck=dict(_delete_=True, **neck))
