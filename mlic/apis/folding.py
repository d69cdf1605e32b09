"""A model made ready to predict only: the same scores with less work."""

from mmcv.cnn.utils import fuse_conv_bn
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmpretrain.models import ResNet

from mlic.engine.runner.precision import prepare_for
from mlic.models.backbones.efficientnet_lite import EfficientNetLite
from mlic.models.backbones.lora import LazyLoRAModel

# in these each BatchNorm directly follows its convolution, which fuse_conv_bn takes for granted
FOLDABLE = (ResNet, EfficientNetLite)


def fold_batch_norm(model: BaseModel) -> BaseModel:
    """Fold the BatchNorm of a known backbone, in evaluation mode; others stay as they are.

    For float32 on the CPU. In a lower precision it is not faster, on a GPU it is slower, and the
    rounding of the folded weights changes scores twice as much (docs/performance.md).

    Args:
        model (BaseModel): With ``backbone``. It is changed, and can no longer be trained.
    """
    model.eval()
    if isinstance(model.backbone, FOLDABLE):
        model.backbone = fuse_conv_bn(model.backbone)
    return model


def merge_adapters(model: BaseModel, model_cfg: ConfigDict) -> None:
    """Add LoRA's updates to the weights of a backbone that has such; both are changed along."""
    if isinstance(getattr(model, 'backbone', None), LazyLoRAModel):
        model.backbone = model.backbone.merge()
        model_cfg.backbone = model_cfg.backbone.module


def make_ready(model: BaseModel, precision: str) -> BaseModel:
    """Make a model ready to predict in a precision, as fast as it goes there; it is changed."""
    in_float32 = precision == 'float32'
    return fold_batch_norm(model) if in_float32 else prepare_for(precision, model)
