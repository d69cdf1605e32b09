"""Pascal VOC 2007 at 576 px: the images of voc448.py under the pipelines of coco576.py."""

_base_ = './coco576.py'

dataset_type = 'VOCMultiLabel'
data_root = 'data/VOCdevkit/VOC2007/'
data_preprocessor = dict(num_classes=20)

meta_keys = ('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult')
test_pipeline = [*_base_.test_pipeline[:-1], dict(type='PackInputs', meta_keys=meta_keys)]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
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
