"""MCAR for multi-label image classification: a second look at the regions of the first.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.mcar'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .mcar_classifier import MCARClassifier
from .mcar_head import MCARHead

register_models('mcar')

__all__ = ['MCARClassifier', 'MCARHead']
