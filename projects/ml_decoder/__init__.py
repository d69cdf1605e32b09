"""ML-Decoder for multi-label image classification: a head with group queries.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.ml_decoder'])``.
"""

import mlic  # noqa: F401  data sets, metric, hooks, backbones
from mlic.installation import register_models

from .ml_decoder_head import MLDecoderHead

register_models('ml_decoder')

__all__ = ['MLDecoderHead']
