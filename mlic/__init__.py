"""Multi-label image classification, whatever the method, on mmengine, mmcv and mmpretrain.

Importing this package registers its data sets, transforms, models, hooks and metrics in mmpretrain.
"""

import contextlib
import io
import os
import warnings

from . import image_reader  # noqa: F401  (first: OpenCV takes its limit when it is loaded)
from .packages import check_stack, no_garbage, only_models_that_import

check_stack()

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # onnxruntime reports as soon as it is imported

# mmcv without compiled ops warns of one that this project does not use, and mmpretrain prints
# that it has found no OneDL
with (
    warnings.catch_warnings(),
    contextlib.redirect_stdout(io.StringIO()),
    no_garbage(),
    only_models_that_import(),
):
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    from . import datasets, engine, evaluation, models, visualization

__version__ = '0.1.0'

__all__ = ['datasets', 'engine', 'evaluation', 'models', 'visualization']
