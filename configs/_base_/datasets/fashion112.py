"""Photographs of a shop at 112 px, 115 tags such as `colour:Blue`, in the split of their table:

python tools/dataset_tools/from_csv.py data/fashion_products/labels.csv \
    --images data/fashion_products/images --out data/fashion
"""

_base_ = './own_data224.py'

data_prefix = 'data/fashion_products/images'
data_preprocessor = dict(num_classes=115)

train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=112, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(112, 112)),
    dict(type='PackInputs'),
]

train = dict(ann_file='data/fashion/train.json', data_prefix=data_prefix, pipeline=train_pipeline)
val = dict(ann_file='data/fashion/val.json', data_prefix=data_prefix, pipeline=test_pipeline)
test = dict(ann_file='data/fashion/test.json', data_prefix=data_prefix, pipeline=test_pipeline)
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = dict(dataset=test)
