"""A place for stored features where a backbone would be.

Shapes in this module: B images, K channels of a feature map, h x w cells, n numbers of an image.
"""

import math
from collections.abc import Sequence

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class StoredFeatures(BaseBackbone):
    """Stands in for a backbone whose features are stored: passes its input on.

    It has no weights: a checkpoint of such a model holds neck and head only.

    Args:
        shapes (Sequence[Sequence[int]], optional): Of an image's features, where
            :class:`PackedMaps` has put them into one array: several maps (K, h, w), or tokens or
            pooled features. Defaults to None: they are one map.

    Example:
        >>> import torch
        >>> from mlic.models import StoredFeatures
        >>> [feat.shape for feat in StoredFeatures()(torch.rand(2, 16, 7, 7))]
        [torch.Size([2, 16, 7, 7])]
    """

    def __init__(self, shapes: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__()
        self.shapes = shapes

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, K, h, w) → one feature map, the same; packed ones (B, n, 1, 1) → each of them."""
        if self.shapes is None:
            return (inputs,)
        parts = inputs.flatten(1).split([math.prod(shape) for shape in self.shapes], dim=1)
        return tuple(part.unflatten(1, tuple(shape)) for part, shape in zip(parts, self.shapes))


class PackedMaps(nn.Module):
    """A backbone whose features stand in one array, for :class:`StoredFeatures` to take apart.

    Args:
        backbone (nn.Module): Of maps (B, K, h, w), or other features (B, …).
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W) → (B, n, 1, 1), the features one after another."""
        return (torch.cat([feat.flatten(1) for feat in self.backbone(inputs)], 1)[..., None, None],)
