"""ViT-L/16 of DINOv3 with a linear classifier: pip install -e '.[timm]'.

tools/dist_train.sh configs/foundation/linear_vit-l-dinov3_coco512.py 4
Not run; downloads 1.2 GB, for which Hugging Face asks to accept Meta's licence.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-l_dinov3.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
