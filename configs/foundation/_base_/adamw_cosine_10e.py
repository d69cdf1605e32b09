# CatLIP's fine-tuning on COCO (corenet, projects/catlip). Not taken over: images of 256 to 768 px
# in turn, and an augmentation that is learned along. Their test has 512 px.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    constructor='SharedGroupsConstructor',
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
warm_up = 0.774  # epochs: 500 of 646 iterations
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=warm_up, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.1,
        begin=warm_up,
        end=10,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [dict(type='ForeachEMAHook', momentum=5e-4, priority='ABOVE_NORMAL')]

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=128)  # 4 GPUs x 32, as published
