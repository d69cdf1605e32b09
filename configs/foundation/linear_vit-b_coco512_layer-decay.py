"""linear_vit-b_coco512 with layer-wise decay: each layer learns 0.65 times as fast as the next one.

tools/dist_train.sh configs/foundation/linear_vit-b_coco512_layer-decay.py 4
Not run, and its rate is not tuned; downloads 345 MB.
"""

_base_ = './linear_vit-b_coco512.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(layer_decay_rate=0.65))
