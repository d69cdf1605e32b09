"""C-Tran on Pascal VOC 2007 with its published recipe: that of COCO over twice the images a step.

tools/train.py configs/c_tran/c-tran_r101_voc576.py
Paper: none. Ours: not run.
"""

_base_ = [
    './_base_/c-tran_r101.py',
    '../_base_/datasets/voc576.py',
    './_base_/adam_plateau_100e.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.c_tran'], allow_failed_imports=False)

train_dataloader = dict(batch_size=16)
optim_wrapper = dict(accumulative_counts=2)  # the released code adds the two gradients up
model = dict(head=dict(num_classes=20, loss=dict(loss_weight=32)))  # the sum over a step's images
val_evaluator = dict(difficult='negative')  # as published
test_evaluator = val_evaluator
