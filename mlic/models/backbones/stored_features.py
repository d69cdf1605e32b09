"""A place for stored features where a backbone would be.

Shapes in this module: B images, K channels of the feature map, h x w cells.
"""

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class StoredFeatures(BaseBackbone):
    """In place of a backbone whose features are stored: hands its input on.

    It has no weights: a checkpoint of such a model holds neck and head only.
    """

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """(B, K, h, w) → one feature map, the same."""
        return (inputs,)
