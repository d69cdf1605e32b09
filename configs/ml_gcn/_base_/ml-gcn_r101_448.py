_base_ = [
    '../../_base_/models/r101.py',
    '../../_base_/schedules/sgd_backbone-tenth.py',
    '../../_base_/default_runtime.py',
]

custom_imports = dict(imports=['projects.ml_gcn'], allow_failed_imports=False)
model = dict(
    head=dict(
        type='MLGCNHead',
        num_classes=80,
        in_channels=2048,
        vectors=dict(file='data/glove/glove.6B.300d.txt'),
    )
)
# boxes of the original image, up to its whole size
ml_gcn_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='MultiScaleCrop', scale=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_cfg = dict(max_epochs=20)  # at one rate: the released command would decay after epoch 30
