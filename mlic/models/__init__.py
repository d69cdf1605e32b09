"""Backbones, heads, layers and losses, registered in mmpretrain's MODELS."""

from .backbones.efficientnet_lite import EfficientNetLite
from .backbones.lora import LazyLoRAModel
from .backbones.stored_features import StoredFeatures
from .backbones.timm_backbone import LazyTIMMBackbone
from .data_preprocessor import MultiLabelDataPreprocessor
from .heads.label_embed_head import LabelEmbedHead
from .heads.multi_score_head import MultiScoreHead
from .layers.attention import Attention
from .layers.feature_map import as_feature_map
from .layers.gather import gather_active, gather_rows
from .layers.graph_convolution import GraphConvolution
from .layers.group_linear import GroupLinear
from .layers.label_graph import LabelGraph
from .layers.label_vectors import LabelVectors, read_vectors
from .layers.position_encoding import sine_position_encoding
from .layers.post_norm import DecoderLayer, EncoderLayer, FeedForward
from .layers.projector import Projector
from .losses.asymmetric_loss import StopGradAsymmetricLoss
from .losses.known_labels import loss_of_known
from .losses.missing_labels import ExpectedPositiveLoss, PriorSmoothLoss, WeakNegativeLoss
from .losses.soft_margin_loss import MultiLabelSoftMarginLoss
from .losses.supcon_loss import SupConLoss, supcon_loss
from .training_parts import TrainingParts

__all__ = [
    'Attention',
    'DecoderLayer',
    'EfficientNetLite',
    'EncoderLayer',
    'ExpectedPositiveLoss',
    'FeedForward',
    'GraphConvolution',
    'GroupLinear',
    'LabelEmbedHead',
    'LabelGraph',
    'LabelVectors',
    'LazyLoRAModel',
    'LazyTIMMBackbone',
    'MultiLabelDataPreprocessor',
    'MultiLabelSoftMarginLoss',
    'MultiScoreHead',
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
    'read_vectors',
    'sine_position_encoding',
    'supcon_loss',
]
