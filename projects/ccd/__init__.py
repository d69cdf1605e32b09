"""CCD for multi-label image classification: scores without what an image's context says.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.ccd'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .ccd_head import CCDHead
from .context_memory_hook import ContextMemoryHook

register_models('ccd')

__all__ = ['CCDHead', 'ContextMemoryHook']
