"""Query2Label: SARL's network with a milder asymmetric loss, 0 / 2 / 0, and its own recipe.

tools/dist_train.sh configs/query2label/query2label_r101_coco448.py 8
Paper: mAP 84.9 (`sadcl`'s AP). Ours: not run.
"""

_base_ = '../sadcl/sarl_r101_coco448.py'

model = dict(head=dict(loss_cls=dict(gamma_neg=2.0)))
train_dataloader = dict(batch_size=16)  # 8 GPUs x 16 = 128
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-2))
custom_hooks = [
    dict(type='ForeachEMAHook', momentum=3e-4, priority='ABOVE_NORMAL'),  # 1 - decay 0.9997
    dict(type='StageEarlyStoppingHook', next_stage=1, patience=9),
]
auto_scale_lr = dict(base_batch_size=128)
