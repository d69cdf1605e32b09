"""R101TF, the student of CPSD: one transformer over the cells of an image and the classes.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.cpsd'])``. What CPSD's students learn from is
``mlic.models.DistilledClassifier``, for every method.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .r101tf import R101TFHead, R101TFNeck

register_models('cpsd')

__all__ = ['R101TFHead', 'R101TFNeck']
