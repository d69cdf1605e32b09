"""DigitScenes at 128 px: rendered on the fly from scikit-learn's scans, no download."""

dataset_type = 'DigitScenes'
data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    num_classes=10,
    # EfficientNet-Lite's weights were trained on (rgb - 127) / 128, not on ImageNet's mean and std
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    to_onehot=True,
)

# No flip and no strong crop: either would change what the label says.
train_pipeline = [dict(type='PackInputs')]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(type=dataset_type, split='train', num_images=2000, pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type, split='val', num_images=500, pipeline=test_pipeline, test_mode=True
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type, split='test', num_images=500, pipeline=test_pipeline, test_mode=True
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

val_evaluator = dict(type='MLICMetric')
test_evaluator = val_evaluator
