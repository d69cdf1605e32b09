"""Clothing Co-Parsing at 320 px, 55 labels: trained on the photographs without pixel maps, tested
on those with. docs/where_it_looks.md has the commands.
"""

_base_ = './small.py'

data_preprocessor = dict(num_classes=55)

train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=320, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(320, 320)),  # no label is cut off, and masks are made as square
    dict(type='PackInputs'),
]

ccp = dict(type='MultiLabelDataset', data_prefix='data/ccp/photos')
train = dict(**ccp, ann_file='data/ccp_labels/train.json', pipeline=train_pipeline)
test = dict(**ccp, ann_file='data/ccp_labels/test.json', pipeline=test_pipeline)
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=test)  # no config picks a checkpoint by it
test_dataloader = val_dataloader
