"""DSDL for multi-label image classification: codes over a dictionary of the classes.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.dsdl'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .dsdl_head import DSDLHead

register_models('dsdl')

__all__ = ['DSDLHead']
