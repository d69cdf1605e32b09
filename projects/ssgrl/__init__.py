"""SSGRL for multi-label image classification: a feature vector for each class, spread over a graph.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.ssgrl'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .ssgrl_neck import SSGRLNeck

register_models('ssgrl')

__all__ = ['SSGRLNeck']
