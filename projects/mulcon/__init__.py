"""MulCon for multi-label image classification: label embeddings contrasted over two views.

Importing this package registers its components; a config does it with
``custom_imports = dict(imports=['projects.mulcon'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .attention_block import AttentionBlock
from .hard_negatives import hard_negative_term
from .image_contrast import ImageContrastHead, ImageSupConLoss, image_supcon_loss
from .mulcon_head import MulConHead
from .mulcon_neck import MulConNeck
from .multi_view import MultiViewDataPreprocessor

register_models('mulcon')

__all__ = [
    'AttentionBlock',
    'ImageContrastHead',
    'ImageSupConLoss',
    'MulConHead',
    'MulConNeck',
    'MultiViewDataPreprocessor',
    'hard_negative_term',
    'image_supcon_loss',
]
