"""TDRG for multi-label image classification: a transformer over scales, and a graph over classes.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.tdrg'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .tdrg_head import TDRGHead

register_models('tdrg')

__all__ = ['TDRGHead']
