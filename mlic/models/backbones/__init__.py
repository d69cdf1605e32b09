"""Two backbones, and a place for stored features."""

from .efficientnet_lite import EfficientNetLite
from .stored_features import StoredFeatures
from .timm_backbone import LazyTIMMBackbone

__all__ = [
    'EfficientNetLite',
    'LazyTIMMBackbone',
    'StoredFeatures',
]
