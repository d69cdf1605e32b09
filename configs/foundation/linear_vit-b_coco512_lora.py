"""linear_vit-b_coco512 with LoRA in the backbone's attention.

tools/dist_train.sh configs/foundation/linear_vit-b_coco512_lora.py 4
Not run, and its rate is not tuned; downloads 345 MB.
"""

_base_ = './linear_vit-b_coco512.py'

lora = dict(type='LazyLoRAModel', rank=8, alpha=16, targets=['qkv', 'proj'])
model = dict(backbone=dict(_delete_=True, module=_base_.backbone, **lora))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
