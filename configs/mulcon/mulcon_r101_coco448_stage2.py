"""MulCon: from the first step's averaged weights, BCE and contrast of two views, a new projector.

tools/dist_train.sh configs/mulcon/mulcon_r101_coco448_stage2.py 2
Paper: mAP 84.9, CF1 79.2, OF1 81.6 (`standard`). Ours: not run.
"""

_base_ = './_base_/mulcon_r101_coco448.py'

load_from = 'work_dirs/mulcon_r101_coco448_stage1/epoch_25.pth'
data_preprocessor = dict(type='MultiViewDataPreprocessor')
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=_base_.two_views))  # 2 GPUs x 12 = 24
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1), neck=dict(lr_mult=0.1))),
)
param_scheduler = [dict(type='StepLR', step_size=20, gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=25, val_interval=1)  # 25: the paper does not say
auto_scale_lr = dict(base_batch_size=24)
