"""Neck, head, losses and two backbones, registered in mmpretrain's MODELS."""

from .asymmetric_loss import StopGradAsymmetricLoss
from .contrastive_losses import PSCLLoss, SSCLLoss, pscl_loss, sscl_loss
from .efficientnet_lite import EfficientNetLite
from .group_linear import GroupLinear
from .position_encoding import sine_position_encoding
from .sadcl_head import SADCLHead
from .sarl_neck import SARLNeck
from .timm_backbone import LazyTIMMBackbone

__all__ = [
    'EfficientNetLite',
    'GroupLinear',
    'LazyTIMMBackbone',
    'PSCLLoss',
    'SADCLHead',
    'SARLNeck',
    'SSCLLoss',
    'StopGradAsymmetricLoss',
    'pscl_loss',
    'sine_position_encoding',
    'sscl_loss',
]
