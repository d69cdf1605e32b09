"""C-Tran on ResNet-101 with its published recipe: Adam 1e-5, crops of a 640 x 640 image.

tools/train.py configs/c_tran/c-tran_r101_coco576.py
Paper: mAP 85.1. Ours: not run.
"""

_base_ = [
    './_base_/c-tran_r101.py',
    '../_base_/datasets/coco576.py',
    './_base_/adam_plateau_100e.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.c_tran'], allow_failed_imports=False)

train_dataloader = dict(batch_size=16)
