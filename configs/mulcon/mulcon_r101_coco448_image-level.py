"""What MulCon starts from: supervised contrast of whole images, on pooled features.

tools/dist_train.sh configs/mulcon/mulcon_r101_coco448_image-level.py 2
The paper says that this hardly helps; its number was not found. Recipe: that of the first step,
with two views. Ours: not run.
"""

_base_ = './mulcon_r101_coco448_stage1.py'

model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(_delete_=True, type='ImageContrastHead', num_classes=80, in_channels=2048),
)
data_preprocessor = dict(type='MultiViewDataPreprocessor')
train_dataloader = dict(dataset=dict(pipeline=_base_.two_views))
