"""Backbones, layers and losses, registered in mmpretrain's MODELS."""

from . import backbones, layers, losses
from .backbones import *  # noqa: F403
from .layers import *  # noqa: F403
from .losses import *  # noqa: F403

__all__ = [*backbones.__all__, *layers.__all__, *losses.__all__]
