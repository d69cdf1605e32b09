"""SADCL as published, on 8 GPUs: SARL for 80 epochs, prototypes, then both contrastive losses.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448.py 8
Paper (2 GPUs x 32): mAP 85.6. Ours: not run.
"""

_base_ = [
    '../_base_/models/sadcl_r101.py',
    '../_base_/datasets/coco448.py',
    '../_base_/schedules/adamw_one-cycle_2x80e.py',
    '../_base_/default_runtime.py',
]
