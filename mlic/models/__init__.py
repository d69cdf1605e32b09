"""Backbones, heads, layers and losses, registered in mmpretrain's MODELS."""

from .backbones.efficientnet_lite import EfficientNetLite
from .backbones.lora import LazyLoRAModel
from .backbones.stored_features import StoredFeatures
from .backbones.timm_backbone import LazyTIMMBackbone
from .data_preprocessor import MultiLabelDataPreprocessor
from .heads.label_embed_head import LabelEmbedHead
from .layers.attention import Attention
from .layers.feature_map import as_feature_map
from .layers.gather import gather_active, gather_rows
from .layers.group_linear import GroupLinear
from .layers.position_encoding import sine_position_encoding
from .layers.post_norm import DecoderLayer, EncoderLayer, FeedForward
from .layers.projector import Projector
from .losses.asymmetric_loss import StopGradAsymmetricLoss
from .losses.known_labels import loss_of_known
from .losses.missing_labels import ExpectedPositiveLoss, PriorSmoothLoss, WeakNegativeLoss
from .losses.supcon_loss import SupConLoss, supcon_loss
from .training_parts import TrainingParts

__all__ = [
    'Attention',
    'DecoderLayer',
    'EfficientNetLite',
    'EncoderLayer',
    'ExpectedPositiveLoss',
    'FeedForward',
    'GroupLinear',
    'LabelEmbedHead',
    'LazyLoRAModel',
    'LazyTIMMBackbone',
    'MultiLabelDataPreprocessor',
    'PriorSmoothLoss',
    'Projector',
    'StopGradAsymmetricLoss',
    'StoredFeatures',
    'SupConLoss',
    'TrainingParts',
    'WeakNegativeLoss',
    'as_feature_map',
    'gather_active',
    'gather_rows',
    'loss_of_known',
    'sine_position_encoding',
    'supcon_loss',
]
