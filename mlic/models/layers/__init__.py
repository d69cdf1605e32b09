"""Layers that several methods share."""

from .attention import Attention
from .gather import gather_active, gather_rows
from .group_linear import GroupLinear
from .position_encoding import sine_position_encoding

__all__ = [
    'Attention',
    'GroupLinear',
    'gather_active',
    'gather_rows',
    'sine_position_encoding',
]
