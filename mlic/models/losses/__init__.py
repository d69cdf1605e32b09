"""Losses that several methods share."""

from .asymmetric_loss import StopGradAsymmetricLoss
from .supcon_loss import SupConLoss, supcon_loss

__all__ = [
    'StopGradAsymmetricLoss',
    'SupConLoss',
    'supcon_loss',
]
