"""SARL* of the paper: the decoder alone, without the encoder. On Corel5k.

tools/train.py configs/sadcl/sarl_efficientnet-lite0_corel5k160_no-encoder.py
Over 74 words, stored features, 3 seeds: docs/experiments.md.
"""

_base_ = './sarl_efficientnet-lite0_corel5k160.py'

model = dict(neck=dict(num_encoder_layers=0))
