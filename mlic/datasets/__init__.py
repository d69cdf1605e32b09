"""Data sets and transforms, registered in mmpretrain."""

from mlic.image_reader import ImageReadError, read_image

from .class_part import ClassPart
from .coco import COCOMultiLabel
from .degraded_data import DegradedData, HideLabels
from .digit_scenes import DigitScenes
from .feature_cache import FeatureCache, LoadFeature
from .nus_wide import NUSWIDE
from .one_positive import OnePositive
from .own_json import MultiLabelDataset
from .transforms.load_image import LoadImageStrict
from .transforms.multi_scale_crop import MultiScaleCrop
from .transforms.pack_inputs import PackInputs
from .visual_genome import VG500
from .voc import VOCMultiLabel

__all__ = [
    'COCOMultiLabel',
    'ClassPart',
    'DegradedData',
    'DigitScenes',
    'FeatureCache',
    'HideLabels',
    'ImageReadError',
    'LoadFeature',
    'LoadImageStrict',
    'MultiLabelDataset',
    'MultiScaleCrop',
    'NUSWIDE',
    'OnePositive',
    'PackInputs',
    'VG500',
    'VOCMultiLabel',
    'read_image',
]
