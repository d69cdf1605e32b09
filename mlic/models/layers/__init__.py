"""Layers that several methods share."""

from .attention import Attention
from .feature_map import as_feature_map
from .gather import gather_active, gather_rows
from .group_linear import GroupLinear
from .position_encoding import sine_position_encoding
from .post_norm import DecoderLayer, EncoderLayer, FeedForward
from .projector import Projector

__all__ = [
    'Attention',
    'DecoderLayer',
    'EncoderLayer',
    'FeedForward',
    'GroupLinear',
    'Projector',
    'as_feature_map',
    'gather_active',
    'gather_rows',
    'sine_position_encoding',
]
