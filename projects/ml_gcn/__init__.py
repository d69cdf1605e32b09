"""ML-GCN for multi-label image classification: classifiers made of a label graph.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.ml_gcn'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .ml_gcn_head import MLGCNHead

register_models('ml_gcn')

__all__ = ['MLGCNHead']
