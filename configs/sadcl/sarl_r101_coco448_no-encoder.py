"""SARL without its encoder, the paper's SARL*.

tools/dist_train.sh configs/sadcl/sarl_r101_coco448_no-encoder.py 8
Paper: mAP 84.7. Ours: not run.
"""

_base_ = './sarl_r101_coco448.py'

model = dict(neck=dict(num_encoder_layers=0))
