"""A model trained at 448 px, tested at 576 px: the paper's (448, 576) row.

tools/dist_test.sh configs/sadcl/sadcl_r101_coco448_test576.py CHECKPOINT 8
Trained with tools/train.py, it is sadcl_r101_coco448. Paper: mAP 86.8. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(576, 576)),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
