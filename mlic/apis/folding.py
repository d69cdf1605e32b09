"""A model made ready to predict only: the same scores with less work."""

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.model import BaseModel
from mmpretrain.models import ResNet

from mlic.engine.runner.device import CHANNELS_LAST
from mlic.engine.runner.precision import device_of
from mlic.models.backbones.efficientnet_lite import EfficientNetLite

# in these each BatchNorm directly follows its convolution, which fuse_conv_bn takes for granted
FOLDABLE = (ResNet, EfficientNetLite)


def fold_batch_norm(model: BaseModel) -> BaseModel:
    """Fold the BatchNorm of a known backbone, in evaluation mode; others stay as they are.

    Args:
        model (BaseModel): With ``backbone``. It is changed, and can no longer be trained.
    """
    model.eval()
    if isinstance(model.backbone, FOLDABLE):
        model.backbone = fuse_conv_bn(model.backbone)
    return model


def prepare_for(precision: str, model: BaseModel) -> BaseModel:
    """Make a model fast in a lowered precision; in float32 it stays as it is.

    BatchNorm is folded, and on CUDA the channels are last where the backbone is of plain
    convolutions.

    Args:
        precision (str): See :mod:`mlic.engine.runner.precision`.
        model (BaseModel): As for :func:`fold_batch_norm`.
    """
    if precision == 'float32':
        return model
    model = fold_batch_norm(model)
    on_cuda = device_of(model).type == 'cuda'
    if on_cuda and type(model.backbone).__name__ in CHANNELS_LAST:
        model = model.to(memory_format=torch.channels_last)
    return model
