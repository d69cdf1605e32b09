"""CCD with the recipe of SADCL's first author, who re-implemented it; its authors released no code.

tools/dist_train.sh configs/ccd/ccd_r101_coco448.py 4
Paper, by SADCL's poster: mAP 84.0. Ours: not run.
"""

_base_ = [
    '../_base_/models/r101.py',
    '../_base_/datasets/coco448_labelled.py',
    './_base_/adam_one-cycle_6-80e.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.ccd'], allow_failed_imports=False)
model = dict(head=dict(type='CCDHead', num_classes=80, in_channels=2048))
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=_base_.stage1_pipeline))  # x 4 = 128
