"""Layers that several methods share."""

from .attention import Attention
from .gather import gather_active, gather_rows
from .group_linear import GroupLinear
from .position_encoding import sine_position_encoding
from .projector import Projector

__all__ = [
    'Attention',
    'GroupLinear',
    'Projector',
    'gather_active',
    'gather_rows',
    'sine_position_encoding',
]
