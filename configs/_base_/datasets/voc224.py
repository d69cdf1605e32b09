"""Pascal VOC 2007 at 224 px: trainval to train, test to report."""

_base_ = './small.py'

size = 224
prior_prob = 0.07  # an image has 1.4 of 20 classes
data_preprocessor = dict(num_classes=20)

# The difficult objects are no part of gt_label: negatives in training. In testing they travel
# next to it as meta information, so that the metric can leave them out.
train_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult'),
    ),
]

voc = dict(type='VOCMultiLabel', data_root='data/VOCdevkit/VOC2007/')
train_dataloader = dict(dataset=dict(**voc, split='trainval', pipeline=train_pipeline))
# Validation reports on the test split: no config picks a checkpoint by it. To choose
# hyper-parameters, train on split='train' and validate on split='val'.
val_dataloader = dict(dataset=dict(**voc, split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader

# The second one is for reduced copies of VOC, in which only these classes have enough images.
val_evaluator = [
    dict(type='MLICMetric'),
    dict(type='MLICMetric', classes=['bus', 'car', 'cat', 'person', 'train'], prefix='five'),
]
test_evaluator = val_evaluator
