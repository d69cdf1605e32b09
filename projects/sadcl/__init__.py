"""SADCL for multi-label image classification, as an mmpretrain plugin.

Importing this package registers its components; a config does it with
``custom_imports = dict(imports=['projects.sadcl'])``.
"""

import contextlib
import io
import warnings

from .packages import check_stack

check_stack()

# mmcv without compiled ops warns of one that this project does not use, and mmpretrain prints
# that it has found no OneDL
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    from . import apis, datasets, engine, evaluation, models
    from .apis import *  # noqa: F403
    from .datasets import *  # noqa: F403
    from .engine import *  # noqa: F403
    from .engine.tracking import TensorboardVisBackend, WandbVisBackend
    from .evaluation import *  # noqa: F403
    from .models import *  # noqa: F403

__version__ = '0.1.0'

__all__ = [
    *apis.__all__,
    *datasets.__all__,
    *engine.__all__,
    *evaluation.__all__,
    *models.__all__,
    'TensorboardVisBackend',
    'WandbVisBackend',
]
