"""Transforms, registered in mmpretrain's TRANSFORMS."""

from .load_image import ImageReadError, LoadImageStrict, read_image
from .multi_scale_crop import MultiScaleCrop, keeps_frame

__all__ = [
    'ImageReadError',
    'LoadImageStrict',
    'MultiScaleCrop',
    'keeps_frame',
    'read_image',
]
