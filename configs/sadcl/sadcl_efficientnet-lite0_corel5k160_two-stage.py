"""SADCL on Corel5k in two stages of equal length, as published: SARL, then contrast, in one run.

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_corel5k160_two-stage.py
Over 74 words, stored features, 3 seeds, mAP 60.9: docs/when_contrast_helps.md.
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160.py'

epochs = 4  # of a stage
one_cycle = dict(_base_.param_scheduler[0])
param_scheduler = [dict(**one_cycle, end=epochs), dict(**one_cycle, begin=epochs)]
custom_hooks = [
    dict(type='ForeachEMAHook', horizon=0.05, priority='ABOVE_NORMAL'),  # a tenth of a stage
    dict(type='PrototypeHook', begin=epochs + 1, threshold=0.0),
]
train_cfg = dict(max_epochs=2 * epochs, val_interval=2 * epochs)
