"""What small data sets share: one GPU's or CPU's loaders, and EfficientNet-Lite's normalisation.

A data set adds `num_classes`, and `type`, files and pipeline of its images.
"""

data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    # EfficientNet-Lite's weights were trained on (rgb - 127) / 128, not on ImageNet's mean and std
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    to_onehot=True,
)

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='MLICMetric')
test_evaluator = val_evaluator
