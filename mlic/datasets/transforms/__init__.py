"""Transforms, registered in mmpretrain's TRANSFORMS."""

from .load_image import ImageReadError, LoadImageStrict, read_image
from .multi_scale_crop import MultiScaleCrop

__all__ = ['ImageReadError', 'LoadImageStrict', 'MultiScaleCrop', 'read_image']
