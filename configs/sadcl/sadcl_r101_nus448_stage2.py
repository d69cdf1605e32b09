"""The second stage alone, from a trained SARL, on NUS-WIDE.

tools/dist_train.sh configs/sadcl/sadcl_r101_nus448_stage2.py 8 \
    --cfg-options load_from=work_dirs/sarl_r101_nus448/best_multi-label_mAP_epoch_N.pth
Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/nus448.py',
    '../_base_/schedules/adamw_one-cycle_80e.py',
    '../_base_/default_runtime.py',
]

num_classes = _base_.data_preprocessor.num_classes
model = dict(neck=dict(num_classes=num_classes), head=dict(num_classes=num_classes))
custom_hooks = [*_base_.custom_hooks, dict(type='PrototypeHook', begin=1)]
