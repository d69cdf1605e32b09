"""SADCL's head, losses and recipe on SSGRL's label embeddings instead of SARL's.

tools/dist_train.sh configs/sadcl/sadcl-on-ssgrl_r101_coco448.py 8
No paper has it. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

custom_imports = dict(imports=['projects.sadcl', 'projects.ssgrl'], allow_failed_imports=False)
# the whole map of 14 x 14 cells, which SARL attends to as well; the head's width is 2048 in both
neck = dict(type='SSGRLNeck', in_channels=2048, num_classes=_base_.num_classes)
neck.update(vectors=dict(file='data/glove/glove.6B.300d.txt'))
model = dict(neck=dict(_delete_=True, **neck))
