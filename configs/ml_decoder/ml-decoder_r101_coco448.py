"""ML-Decoder on ResNet-101 with its published recipe: ASL 4 / 0 / 0.05, cutout, RandAugment.

tools/dist_train.sh configs/ml_decoder/ml-decoder_r101_coco448.py 8
Paper: none for this backbone (TResNet-L: mAP 90.1, in the authors' list of models). Ours: not run.
"""

_base_ = [
    './_base_/ml-decoder_r101.py',
    '../_base_/datasets/coco448_labelled.py',
    './_base_/adam_one-cycle_40e.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.ml_decoder'], allow_failed_imports=False)

train_dataloader = dict(batch_size=7, dataset=dict(pipeline=_base_.stage1_pipeline))  # x 8 = 56
