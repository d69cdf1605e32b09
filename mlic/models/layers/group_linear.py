"""One linear score per class.

Shapes in this module: B images, C classes, D embed dims.
"""

import math

import torch
from torch import Tensor, nn

from mlic.dtypes import raised
from mlic.models.checks import log_odds
from mlic.models.training_parts import TrainingParts


class GroupLinear(TrainingParts, nn.Module):
    r"""One linear score per class: :math:`l_{bc} = \langle W_c, h_{bc} \rangle + b_c`.

    Query2Label's group-wise fully connected layer. It computes in at least float32.

    Args:
        num_classes (int): C.
        embed_dims (int): D.
        prior_prob (float, optional): Start every class at this probability, with small weights
            (the initialisation of Focal Loss, Lin et al., ICCV 2017). Defaults to None: weight
            and bias uniform in ±1/sqrt(D), as published.

    Raises:
        ValueError: If ``prior_prob`` is not between 0 and 1, both excluded.

    Example:
        >>> import torch
        >>> from mlic.models import GroupLinear
        >>> GroupLinear(num_classes=3, embed_dims=8)(torch.rand(2, 3, 8)).shape
        torch.Size([2, 3])
    """

    by_class = dict(weight=(0,), bias=(0,))

    def __init__(self, num_classes: int, embed_dims: int, prior_prob: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dims))
        self.bias = nn.Parameter(torch.empty(num_classes))
        bound = 1 / math.sqrt(embed_dims)
        if prior_prob is None:
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)
        else:
            nn.init.normal_(self.weight, std=0.01)
            nn.init.constant_(self.bias, log_odds(prior_prob))

    def forward(self, label_embeds: Tensor) -> Tensor:
        """(B, C, D) → logits (B, C)."""
        with torch.autocast(label_embeds.device.type, enabled=False):
            dtype = raised(torch.promote_types(label_embeds.dtype, self.weight.dtype))
            weight, bias = self.weight.to(dtype), self.bias.to(dtype)
            return torch.einsum('bcd,cd->bc', label_embeds.to(dtype), weight) + bias
