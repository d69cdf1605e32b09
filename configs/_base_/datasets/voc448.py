"""Pascal VOC 2007 at 448 px: trainval to train, test to report; pipelines of coco448.py."""

_base_ = './coco448.py'

dataset_type = 'VOCMultiLabel'
data_root = 'data/VOCdevkit/VOC2007/'
data_preprocessor = dict(num_classes=20)

# The difficult objects are no part of gt_label: negatives in training, as published. In testing
# they travel next to it as meta information, so that the metric can leave them out.
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(_base_.size, _base_.size)),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult'),
    ),
]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
# The best checkpoint is chosen on the split that is reported, as published. To keep test unseen,
# train on split='train' and choose on split='val'.
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
