"""ML-Decoder for multi-label image classification: a head with group queries.

Importing this package registers it; a config does it with
``custom_imports = dict(imports=['projects.sadcl', 'projects.ml_decoder'])``.
"""

import projects.sadcl  # noqa: F401  the loader of checkpoints

from .ml_decoder_head import MLDecoderHead

__all__ = ['MLDecoderHead']
