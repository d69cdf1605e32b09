"""ViT-B/16 of DINOv3 with a linear classifier: pip install -e '.[timm]'.

tools/dist_train.sh configs/foundation/linear_vit-b-dinov3_coco512.py 4
Not run; downloads 343 MB, for which Hugging Face asks to accept Meta's licence.
"""

_base_ = ['./_base_/linear.py', './_base_/vit-b_dinov3.py', '../_base_/datasets/coco512.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels))
data_preprocessor = _base_.normalisation
