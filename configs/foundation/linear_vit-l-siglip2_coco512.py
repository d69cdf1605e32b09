"""ViT-L/16 of SigLIP 2 with a linear classifier: pip install -e '.[timm]'.

tools/dist_train.sh configs/foundation/linear_vit-l-siglip2_coco512.py 4
Not run; downloads 1.2 GB.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-l_siglip2.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
