"""A linear map of directions, in several groups of channels.

Shapes in this module: B images, C classes, K channels, G groups ("heads").
"""

import torch
from torch import Tensor, nn

from mlic.models.checks import check_heads


class CosineClassifier(nn.Module):
    r"""Logits of the cosines between an image's vector and those of the classes.

    Both are cut into G parts of equal width, and each part of the image counts by its direction:

    .. math::
        s_c = \frac{\tau}{G} \sum_g \left\langle \frac{x_g}{\|x_g\|},
            \frac{w_{cg}}{\|w_{cg}\| + \beta} \right\rangle

    A part of the image that is zero adds nothing; in the released code it makes all logits NaN.

    Args:
        num_classes (int): C.
        in_channels (int): K, a multiple of ``num_heads``.
        num_heads (int): G. Defaults to 4.
        scale (float): tau. Defaults to 32.
        offset (float): beta, so that a short vector of a class counts less. Defaults to 0.03125,
            which is 1/32.

    Raises:
        ValueError: If the channels cannot be cut.

    Example:
        >>> import torch
        >>> from mlic.models import CosineClassifier
        >>> CosineClassifier(num_classes=3, in_channels=16)(torch.rand(2, 16)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int = 4,
        scale: float = 32.0,
        offset: float = 1 / 32,
    ) -> None:
        super().__init__()
        check_heads(in_channels, num_heads)
        self.num_heads = num_heads
        self.scale = scale
        self.offset = offset
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights, uniform between plus and minus 1 / sqrt(K)."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K) to logits (B, C) of the weight's dtype."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype).unflatten(1, (self.num_heads, -1))  # (B, G, K / G)
            weight = self.weight.unflatten(1, (self.num_heads, -1))  # (C, G, K / G)
            length = x.norm(dim=2, keepdim=True)
            x = x / (length + (length == 0))
            weight = weight / (weight.norm(dim=2, keepdim=True) + self.offset)
            return self.scale / self.num_heads * x.flatten(1) @ weight.flatten(1).T
