"""sadcl_vit-b_coco512 on a wholly frozen backbone.

tools/dist_train.sh configs/foundation/sadcl_vit-b_coco512_frozen.py 4
Not run, and its rate is not tuned; downloads 345 MB.
"""

_base_ = './sadcl_vit-b_coco512.py'

model = dict(backbone=dict(frozen_stages=12))
