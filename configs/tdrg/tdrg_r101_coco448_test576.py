"""A model trained at 448 px, tested at 576 px.

tools/dist_test.sh configs/tdrg/tdrg_r101_coco448_test576.py CHECKPOINT 2
Trained with tools/train.py, it is tdrg_r101_coco448. Paper: mAP 86.0. Ours: not run.
"""

_base_ = './tdrg_r101_coco448.py'

test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(576, 576)),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
