_base_ = './adamw_one-cycle_2x80e.py'

param_scheduler = [_base_.one_cycle]
custom_hooks = [
    _base_.custom_hooks[0],
    dict(type='StageEarlyStoppingHook', next_stage=1, patience=9),
]
train_cfg = dict(max_epochs=_base_.epochs)
