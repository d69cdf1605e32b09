"""COCO 2014 at 448 px: train2014 to train, val2014 to report, unlabelled images included."""

size = 448
dataset_type = 'COCOMultiLabel'
data_root = 'data/coco/'
data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    num_classes=80,
    # ImageNet's mean and std, RGB
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    to_onehot=True,
)

# The published first stage. What differs: the hole is grey, where it had a random colour, and
# RandAugment is mmpretrain's policy, where it had 15 operations of another package, each applied
# with probability 1/2 at a magnitude of 1 to 9 (of 10).
stage1_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='Cutout', shape=size // 2, prob=1.0),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std='inf',  # uniform up to magnitude_level
    ),
    dict(type='PackInputs'),
]
# The published second stage: boxes of a 512 x 512 image, cut from the image before it is resized.
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='MultiScaleCrop', scale=size, canvas=512),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=8,  # 8 GPUs x 8 = 64
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2014.json',
        data_prefix=dict(img_path='train2014'),
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,  # as published, and batches of one size on all ranks
)
# The best checkpoint is chosen on val2014, on which papers report: there is no other public split.
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2014.json',
        data_prefix=dict(img_path='val2014'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='MLICMetric', protocols=['standard', 'sadcl'])
test_evaluator = val_evaluator
