"""ADD-GCN for multi-label image classification: a graph over the classes for each image.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.add_gcn'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .add_gcn_head import ADDGCNHead
from .add_gcn_neck import ADDGCNNeck

register_models('add_gcn')

__all__ = ['ADDGCNHead', 'ADDGCNNeck']
