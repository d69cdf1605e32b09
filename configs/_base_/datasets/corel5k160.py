"""Corel5k at 160 px over its 260 words; `tools/dataset_tools/corel5k_to_json.py` prepares it."""

_base_ = './small.py'

size = 160
prior_prob = 0.0135  # an image has 3.4 (training) to 3.5 (test) of 260 words
data_preprocessor = dict(num_classes=260)

train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]

corel5k = dict(type='MultiLabelDataset', data_prefix='data/corel5k')
train = dict(**corel5k, ann_file='data/corel5k_json/train.json', pipeline=train_pipeline)
test = dict(**corel5k, ann_file='data/corel5k_json/test.json', pipeline=test_pipeline)
train_dataloader = dict(dataset=train)
# Validation reports on the test split: no config picks a checkpoint by it. To choose
# hyper-parameters, train on train_part.json and validate on val.json.
val_dataloader = dict(dataset=test)
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
