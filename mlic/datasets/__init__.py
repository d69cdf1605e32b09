"""Data sets and transforms, registered in mmpretrain."""

from . import transforms
from .class_part import ClassPart
from .coco import COCOMultiLabel
from .degraded_data import DegradedData, HideLabels
from .digit_scenes import DigitScenes
from .feature_cache import FeatureCache, LoadFeature
from .nus_wide import NUSWIDE
from .own_json import MultiLabelDataset
from .transforms import *  # noqa: F403
from .visual_genome import VG500
from .voc import VOCMultiLabel

__all__ = [
    'COCOMultiLabel',
    'ClassPart',
    'DegradedData',
    'DigitScenes',
    'FeatureCache',
    'HideLabels',
    'LoadFeature',
    'MultiLabelDataset',
    'NUSWIDE',
    'VG500',
    'VOCMultiLabel',
    *transforms.__all__,
]
