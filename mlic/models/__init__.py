"""Backbones, heads, layers and losses, registered in mmpretrain's MODELS."""

from .backbones.efficientnet_lite import EfficientNetLite
from .backbones.lora import LazyLoRAModel
from .backbones.stored_features import StoredFeatures
from .backbones.timm_backbone import LazyTIMMBackbone
from .data_preprocessor import MultiLabelDataPreprocessor
from .distilled_classifier import DistilledClassifier
from .given_labels import TakesGivenLabels
from .heads.known_label_head import KnownLabelHead
from .heads.label_embed_head import LabelEmbedHead
from .heads.label_vector_head import LabelVectorHead
from .heads.multi_score_head import MultiScoreHead
from .layers.activated_regions import boxes_of, crops_of, intervals
from .layers.attention import Attention
from .layers.class_activation import ClassActivation
from .layers.cosine_classifier import CosineClassifier
from .layers.dynamic_graph import DynamicGraph
from .layers.feature_map import as_feature_map
from .layers.gated_graph import GatedGraph
from .layers.gather import gather_active, gather_rows
from .layers.graph_convolution import GraphConvolution
from .layers.group_linear import GroupLinear
from .layers.label_graph import LabelGraph
from .layers.label_vectors import LabelVectors, read_vectors
from .layers.position_encoding import sine_position_encoding
from .layers.post_norm import DecoderLayer, EncoderLayer, FeedForward
from .layers.projector import Projector
from .layers.scene_graph import SceneGraph
from .layers.semantic_attention import SemanticAttention
from .losses.asymmetric_loss import StopGradAsymmetricLoss
from .losses.known_labels import loss_of_known
from .losses.missing_labels import ExpectedPositiveLoss, PriorSmoothLoss, WeakNegativeLoss
from .losses.soft_margin_loss import MultiLabelSoftMarginLoss
from .losses.supcon_loss import SupConLoss, supcon_loss
from .neck_loss_classifier import NeckLossClassifier
from .training_parts import TrainingParts

__all__ = [
    'Attention',
    'ClassActivation',
    'CosineClassifier',
    'DecoderLayer',
    'DistilledClassifier',
    'DynamicGraph',
    'EfficientNetLite',
    'EncoderLayer',
    'ExpectedPositiveLoss',
    'FeedForward',
    'GatedGraph',
    'GraphConvolution',
    'GroupLinear',
    'KnownLabelHead',
    'LabelEmbedHead',
    'LabelGraph',
    'LabelVectorHead',
    'LabelVectors',
    'LazyLoRAModel',
    'LazyTIMMBackbone',
    'MultiLabelDataPreprocessor',
    'MultiLabelSoftMarginLoss',
    'MultiScoreHead',
    'NeckLossClassifier',
    'PriorSmoothLoss',
    'Projector',
    'SceneGraph',
    'SemanticAttention',
    'StopGradAsymmetricLoss',
    'StoredFeatures',
    'SupConLoss',
    'TakesGivenLabels',
    'TrainingParts',
    'WeakNegativeLoss',
    'as_feature_map',
    'boxes_of',
    'crops_of',
    'gather_active',
    'gather_rows',
    'intervals',
    'loss_of_known',
    'read_vectors',
    'sine_position_encoding',
    'supcon_loss',
]
