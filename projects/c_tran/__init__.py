"""C-Tran for multi-label image classification: image cells and labels in one transformer.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.c_tran'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .c_tran_head import CTranHead

register_models('c_tran')

__all__ = ['CTranHead']
