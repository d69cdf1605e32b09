"""Backbones, heads, layers and losses, registered in mmpretrain's MODELS."""

from . import backbones, heads, layers, losses
from .backbones import *  # noqa: F403
from .heads import *  # noqa: F403
from .layers import *  # noqa: F403
from .losses import *  # noqa: F403

__all__ = [*backbones.__all__, *heads.__all__, *layers.__all__, *losses.__all__]
