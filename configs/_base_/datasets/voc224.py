"""Pascal VOC 2007 at 224 px: trainval to train, test to report."""

dataset_type = 'VOCMultiLabel'
data_root = 'data/VOCdevkit/VOC2007/'
data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    num_classes=20,
    # EfficientNet-Lite's weights were trained on (rgb - 127) / 128, not on ImageNet's mean and std
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    to_onehot=True,
)

# The difficult objects are no part of gt_label: negatives in training. In testing they travel
# beside it as meta information, so that the metric can leave them out.
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(224, 224)),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult'),
    ),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(type=dataset_type, data_root=data_root, split='trainval', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
# Validation reports on the test split: no config picks a checkpoint by it. To choose
# hyper-parameters, train on split='train' and validate on split='val'.
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

# The second one is for reduced copies of VOC, in which only these classes have enough images.
val_evaluator = [
    dict(type='MLICMetric'),
    dict(type='MLICMetric', classes=['bus', 'car', 'cat', 'person', 'train'], prefix='five'),
]
test_evaluator = val_evaluator
