"""A user's own images at 224 px: one JSON file of labels for each split, made by
`tools/dataset_tools/from_csv.py` or `from_folder.py`, which also write a config that fits."""

dataset_type = 'MultiLabelDataset'
data_prefix = 'data/own/images'
data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    num_classes=3,
    # EfficientNet-Lite's weights were trained on (rgb - 127) / 128, not on ImageNet's mean and std
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    to_onehot=True,
)

train_pipeline = [
    # large photographs are decoded at a half, a quarter or an eighth of their size
    dict(type='LoadImageStrict', reduce_to=448),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict', reduce_to=448),
    dict(type='Resize', scale=(224, 224)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        ann_file='data/own/train.json',
        data_prefix=data_prefix,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
# The best checkpoint is chosen on the validation images; the test images only report.
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        ann_file='data/own/val.json',
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        ann_file='data/own/test.json',
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

val_evaluator = dict(type='MLICMetric')
test_evaluator = val_evaluator
