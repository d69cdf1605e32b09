"""SADCL's neck, head and losses, registered in mmpretrain's MODELS."""

from .contrastive_losses import PSCLLoss, SSCLLoss, pscl_loss
from .sadcl_head import SADCLHead
from .sarl_neck import SARLNeck

__all__ = ['PSCLLoss', 'SADCLHead', 'SARLNeck', 'SSCLLoss', 'pscl_loss']
