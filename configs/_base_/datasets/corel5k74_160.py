"""Corel5k at 160 px, its 74 frequent words alone: for comparisons that need many runs."""

_base_ = './corel5k160.py'

data_preprocessor = dict(num_classes=74)
train_dataloader = dict(dataset=dict(ann_file='data/corel5k_json/frequent/train.json'))
val_dataloader = dict(dataset=dict(ann_file='data/corel5k_json/frequent/test.json'))
test_dataloader = val_dataloader

val_evaluator = [dict(type='MLICMetric')]
test_evaluator = val_evaluator
