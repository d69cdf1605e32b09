"""Losses that several methods share."""

from .asymmetric_loss import StopGradAsymmetricLoss

__all__ = [
    'StopGradAsymmetricLoss',
]
