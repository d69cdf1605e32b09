"""Data sets and transforms, registered in mmpretrain."""

from .coco import COCOMultiLabel
from .digit_scenes import DigitScenes
from .transforms import MultiScaleCrop

__all__ = ['COCOMultiLabel', 'DigitScenes', 'MultiScaleCrop']
