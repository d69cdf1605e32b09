_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.add_gcn'], allow_failed_imports=False)
model = dict(
    neck=dict(type='ADDGCNNeck', in_channels=2048, num_classes=80),
    head=dict(type='ADDGCNHead', num_classes=80),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
# the released steps at 30 and 40 come an epoch later: the epoch is read before it is counted
param_scheduler = [dict(type='MultiStepLR', milestones=[31, 41], gamma=0.1)]
