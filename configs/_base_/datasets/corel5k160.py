"""Corel5k at 160 px over its 260 words; `tools/dataset_tools/corel5k_to_json.py` prepares it."""

dataset_type = 'MultiLabelDataset'
data_prefix = 'data/corel5k'
data_preprocessor = dict(
    type='MultiLabelDataPreprocessor',
    num_classes=260,
    # EfficientNet-Lite's weights were trained on (rgb - 127) / 128, not on ImageNet's mean and std
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    to_onehot=True,
)

train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=160, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(160, 160)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        ann_file='data/corel5k_json/train.json',
        data_prefix=data_prefix,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
# Validation reports on the test split: no config picks a checkpoint by it. To choose
# hyper-parameters, train on train_part.json and validate on val.json.
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        type=dataset_type,
        ann_file='data/corel5k_json/test.json',
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='MLICMetric'),
    dict(type='MLICMetric', classes='data/corel5k_json/frequent_words.txt', prefix='frequent'),
]
test_evaluator = val_evaluator

# where the rate of a config that names itself here was chosen (docs/comparison.md)
tuned_on = {
    'config': None,
    'train_dataloader.dataset.ann_file': 'data/corel5k_json/frequent/train.json',
    'model.backbone.frozen_stages': 8,
}
