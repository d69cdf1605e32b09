"""CSRA with six heads and lambda 0.5 on ResNet-101, the authors' recipe.

tools/dist_train.sh configs/csra/csra_r101_coco448.py 8
Paper: mAP 83.5. Ours: not run.
"""

_base_ = ['./_base_/csra_r101_coco448.py', '../_base_/default_runtime.py']

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end=2, convert_to_iter_based=True),
    dict(type='StepLR', step_size=5, gamma=0.1),
]
custom_hooks = []
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
auto_scale_lr = dict(base_batch_size=16)
