"""MulCon on COCO 2014 at 448 px, what both of its steps share; the numbers are the authors'."""

_base_ = [
    '../../_base_/datasets/coco448.py',
    '../../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.mulcon'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(type='MulConNeck', in_channels=2048, num_classes=80),
    head=dict(type='MulConHead', num_classes=80),
)

augmentations = [
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.875, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # mmpretrain's policy; the authors' is another package's
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std='inf',  # uniform up to magnitude_level
    ),
]
one_view = [dict(type='LoadImageStrict'), *augmentations, dict(type='PackInputs')]
two_views = [
    dict(type='LoadImageStrict'),
    dict(type='MultiView', num_views=2, transforms=[augmentations]),
    dict(type='PackInputs'),
]

custom_hooks = [
    # 1 - decay 0.9997, of batch norm's statistics, too
    dict(type='ForeachEMAHook', momentum=3e-4, statistics=True, priority='ABOVE_NORMAL')
]
val_cfg = dict()
test_cfg = dict()
