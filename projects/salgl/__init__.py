"""SALGL for multi-label image classification: a label graph for each kind of scene.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.salgl'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .salgl_neck import SALGLNeck

register_models('salgl')

__all__ = ['SALGLNeck']
