"""SADCL with a TResNet-L of timm: pip install -e '.[timm]'. Not run.

tools/dist_train.sh configs/sadcl/sadcl_tresnet-l_coco448.py 8
"""

_base_ = './sadcl_r101_coco448.py'

model = dict(
    backbone=dict(_delete_=True, type='LazyTIMMBackbone', model_name='tresnet_l.miil_in1k_448'),
    neck=dict(in_channels=2432),
)
data_preprocessor = dict(mean=[0, 0, 0], std=[255, 255, 255])  # the weights'
