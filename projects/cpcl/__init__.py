"""CPCL for multi-label image classification: prototypes that are composed and taken apart.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.cpcl'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .cpcl_head import CPCLHead
from .margin_loss import MarginLoss

register_models('cpcl')

__all__ = ['CPCLHead', 'MarginLoss']
