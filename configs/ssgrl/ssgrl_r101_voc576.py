"""SSGRL on Pascal VOC 2007 with its published recipe; docs/label_graphs.md makes its vectors.

tools/train.py configs/ssgrl/ssgrl_r101_voc576.py
Paper: mAP 93.4, from COCO's weights 95.0 (AP of `sadcl`). Ours: not run.
"""

_base_ = [
    './_base_/ssgrl_r101.py',
    '../_base_/datasets/voc576.py',
    '../_base_/default_runtime.py',
]

num_classes = _base_.data_preprocessor.num_classes
neck = dict(num_classes=num_classes, vectors=dict(file='data/glove/voc.txt'))
model = dict(neck=neck, head=dict(num_classes=num_classes))
pipeline = [*_base_.crop_pipeline, dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, drop_last=False, dataset=dict(pipeline=pipeline))
val_evaluator = dict(difficult='negative')  # as published
test_evaluator = val_evaluator
