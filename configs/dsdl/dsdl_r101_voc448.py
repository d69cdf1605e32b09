"""DSDL on Pascal VOC 2007. tools/dist_train.sh configs/dsdl/dsdl_r101_voc448.py 8

Needs GloVe's vectors (projects/dsdl/README.md). Paper: mAP 94.4. Ours: not run.
"""

_base_ = ['./_base_/dsdl_r101_448.py', '../_base_/datasets/voc448.py']

model = dict(head=dict(num_classes=20, ridge=10.0, dictionary_weight=1e-4))
train_dataloader = dict(batch_size=4)
