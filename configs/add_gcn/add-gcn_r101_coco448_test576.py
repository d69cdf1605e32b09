"""A model trained at 448 px, tested at 576 px.

tools/test.py configs/add_gcn/add-gcn_r101_coco448_test576.py CHECKPOINT
Trained with tools/train.py, it is add-gcn_r101_coco448. Paper: mAP 85.2. Ours: not run.
"""

_base_ = './add-gcn_r101_coco448.py'

test_pipeline = [
    dict(type='LoadImageStrict'),
    dict(type='Resize', scale=(576, 576)),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
