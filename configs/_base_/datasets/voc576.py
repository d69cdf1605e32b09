"""Pascal VOC 2007 at 576 px: trainval to train, test to report; pipelines of coco576.py."""

_base_ = './coco576.py'

data_preprocessor = dict(num_classes=20)

# The difficult objects: see voc448.py.
test_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult'),
    ),
]

voc = dict(_delete_=True, type='VOCMultiLabel', data_root='data/VOCdevkit/VOC2007/')
train_dataloader = dict(
    dataset=dict(**voc, split='trainval', pipeline=_base_.train_pipeline),
)
# The best checkpoint is chosen on the split that is reported, as published.
val_dataloader = dict(
    dataset=dict(**voc, split='test', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
