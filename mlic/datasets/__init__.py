"""Data sets and transforms, registered in mmpretrain."""

from .coco import COCOMultiLabel
from .digit_scenes import DigitScenes
from .feature_cache import FeatureCache, LoadFeature
from .nus_wide import NUSWIDE
from .transforms import ImageReadError, LoadImageStrict, MultiScaleCrop, read_image
from .visual_genome import VG500
from .voc import VOCMultiLabel

__all__ = [
    'COCOMultiLabel',
    'DigitScenes',
    'FeatureCache',
    'ImageReadError',
    'LoadFeature',
    'LoadImageStrict',
    'MultiScaleCrop',
    'NUSWIDE',
    'VG500',
    'VOCMultiLabel',
    'read_image',
]
