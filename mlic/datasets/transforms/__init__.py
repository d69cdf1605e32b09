"""Transforms, registered in mmpretrain's TRANSFORMS."""

from mlic.image_reader import ImageReadError, read_image

from .load_image import LoadImageStrict
from .multi_scale_crop import MultiScaleCrop
from .pack_inputs import PackInputs

__all__ = ['ImageReadError', 'LoadImageStrict', 'MultiScaleCrop', 'PackInputs', 'read_image']
