_base_ = './adamw_one-cycle_2x80e.py'

param_scheduler = [
    dict(
        type='GroupOneCycleLR',
        pct_start=0.2,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=80,
    )
]
custom_hooks = [
    dict(type='ForeachEMAHook', momentum=2e-4, priority='ABOVE_NORMAL'),  # 1 - decay 0.9998
    dict(type='StageEarlyStoppingHook', next_stage=1, patience=8),
]
train_cfg = dict(max_epochs=80)
