"""SSGRL on ResNet-101 and its schedule: Adam at 1e-5, one GPU, nothing decays."""

custom_imports = dict(imports=['projects.ssgrl'], allow_failed_imports=False)
num_classes = 80

model = dict(
    type='ImageClassifier',
    # Only layer4 is trained; its BatchNorm, too, with the statistics of 4 images, as published.
    backbone=dict(
        type='ResNet',
        depth=101,
        frozen_stages=3,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(
        type='SSGRLNeck',
        in_channels=2048,
        num_classes=num_classes,
        pool_size=2,
        shared_gate=True,
        vectors=dict(file='data/glove/glove.6B.300d.txt'),  # which GloVe is not known
    ),
    head=dict(type='LabelEmbedHead', num_classes=num_classes, in_channels=2048),
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5))
param_scheduler = []
custom_hooks = []
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)  # stopped by hand, as published
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=4)
