default_scope = 'mmpretrain'

default_hooks = dict(
    runtime_info=dict(type='DeferredInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='EarlyLoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1, save_best='multi-label/mAP'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    class_num_check=dict(type='ClassCountCheckHook'),
    label_check=dict(type='LabelCheckHook'),
    class_info=dict(type='ClassInfoHook'),  # for label graphs and label vectors
    # a killed run that is resumed ends where the uninterrupted one does
    seed=dict(type='SeedHook'),
    mid_epoch_resume=dict(type='MidEpochResumeHook'),
    rank_buffers=dict(type='RankBuffersHook'),
    missed_validation=dict(type='MissedValidationHook'),
    loader_check=dict(type='LoaderCheckHook'),
    finite_loss=dict(type='FiniteLossHook', max_in_a_row=10),
    visualization=dict(type='MultiLabelVisualizationHook', enable=False),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='MultiLabelVisualizer', vis_backends=vis_backends)

# of the model in validation, tests and prototypes: 'bfloat16' and 'float16' are faster on GPUs
eval_precision = 'float32'
log_level = 'INFO'
load_from = None
load_from_classes = {}  # a class of the data and its name in load_from, where the two differ
resume = False
randomness = dict(seed=1, deterministic=False)
