"""Data sets and transforms, registered in mmpretrain."""

from .coco import COCOMultiLabel
from .digit_scenes import DigitScenes
from .nus_wide import NUSWIDE
from .transforms import MultiScaleCrop
from .visual_genome import VG500

__all__ = ['COCOMultiLabel', 'DigitScenes', 'MultiScaleCrop', 'NUSWIDE', 'VG500']
