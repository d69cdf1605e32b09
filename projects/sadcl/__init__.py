"""SADCL (Semantic-Aware Dual Contrastive Learning, ECAI 2023), a method on ``mlic``.

Importing this package registers all that its configs need, what ``mlic`` has included. A config
does it with ``custom_imports = dict(imports=['projects.sadcl'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from . import engine, models
from .engine import *  # noqa: F403
from .models import *  # noqa: F403

register_models('sadcl')

__all__ = [*engine.__all__, *models.__all__]
