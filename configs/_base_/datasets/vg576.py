"""Visual Genome, 500 categories, at 576 px: 82,904 images to train, 10,000 to report."""

_base_ = './coco448.py'

size = 576
dataset_type = 'VG500'
data_root = 'data/vg500/'
data_preprocessor = dict(num_classes=500)

stage1_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='Cutout', shape=size // 2, prob=1.0),  # half of the side, as at 448
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std='inf',
    ),
    dict(type='PackInputs'),
]
train_pipeline = [
    dict(type='LoadImageStrict'),
    # SSGRL's 640 for 576; 512 / 448 would give 658
    dict(type='MultiScaleCrop', scale=size, canvas=640),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(size, size)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    )
)
# as on COCO, the best checkpoint is chosen on the split that is reported
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
