"""SADCL on a user's own images: SARL for 4 epochs, contrastive losses for 2.

tools/train.py data/NAME/NAME.py, a config that inherits this one: tools/dataset_tools/from_csv.py
writes it. 2 cores, 140 photographs, 12 epochs: 82 s, mAP 45.8 of 12 words (docs/tutorial.md).
"""

_base_ = [
    '../_base_/models/sadcl_efficientnet-lite0.py',
    '../_base_/datasets/own_data224.py',
    '../_base_/schedules/adamw_one-cycle_6e_contrast.py',
    '../_base_/default_runtime.py',
]

num_classes = _base_.data_preprocessor.num_classes
model = dict(neck=dict(num_classes=num_classes), head=dict(num_classes=num_classes))
train_cfg = dict(val_interval=1)
