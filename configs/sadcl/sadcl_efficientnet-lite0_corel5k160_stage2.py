"""The second stage alone on Corel5k, from a trained SARL: 4 epochs with contrastive losses.

tools/train.py configs/sadcl/sadcl_efficientnet-lite0_corel5k160_stage2.py --cfg-options \\
    load_from=work_dirs/sarl_efficientnet-lite0_corel5k160/epoch_6.pth
2 cores, 17 min, seed 1: mAP 64.8 over 74 frequent words, 41.5 of all 260 (standard).
"""

_base_ = './sadcl_efficientnet-lite0_corel5k160.py'

custom_hooks = [
    _base_.custom_hooks[0],
    dict(type='PrototypeHook', begin=1, threshold=0.0),
]
train_cfg = dict(max_epochs=4, val_interval=4)
