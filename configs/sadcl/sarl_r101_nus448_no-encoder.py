"""SARL without its encoder, the paper's SARL*, on NUS-WIDE.

tools/dist_train.sh configs/sadcl/sarl_r101_nus448_no-encoder.py 8
Paper: this row's number was not found. Ours: not run.
"""

_base_ = './sarl_r101_nus448.py'

model = dict(neck=dict(num_encoder_layers=0))
