_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.tdrg'], allow_failed_imports=False)
model = dict(
    backbone=dict(out_indices=(2, 3)),
    # as released: over the images of a batch; 'cells' is the paper
    head=dict(type='TDRGHead', num_classes=80, attend='batch'),
)
optim_wrapper = dict(optimizer=dict(lr=0.03))
# the released step at 40 comes an epoch later: the epoch is read before it is counted
param_scheduler = [dict(type='MultiStepLR', milestones=[41], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
