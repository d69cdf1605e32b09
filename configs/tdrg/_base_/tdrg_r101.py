custom_imports = dict(imports=['projects.tdrg'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    # trained from the stem on, BatchNorm included
    backbone=dict(
        type='ResNet',
        depth=101,
        out_indices=(2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=None,
    # as released: over the images of a batch; 'cells' is the paper
    head=dict(type='TDRGHead', num_classes=80, attend='batch'),
)
