"""A user's own images at 224 px: one JSON file of labels for each split, made by
`tools/dataset_tools/from_csv.py` or `from_folder.py`, which also write a config that fits."""

_base_ = './photos224.py'

data_preprocessor = dict(num_classes=3)

own = dict(type='MultiLabelDataset', data_prefix='data/own/images')
train_dataloader = dict(dataset=dict(**own, ann_file='data/own/train.json'))
# The best checkpoint is chosen on the validation images; the test images only report.
val_dataloader = dict(dataset=dict(**own, ann_file='data/own/val.json'))
test_dataloader = dict(dataset=dict(**own, ann_file='data/own/test.json'))
