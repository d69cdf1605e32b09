"""Multi-head attention without repeated work.

Shapes in this module: B images, L queries, T tokens, D embed dims, H heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlic.dtypes import raised
from mlic.models.checks import check_heads


class Attention(nn.MultiheadAttention):
    """``nn.MultiheadAttention``'s parameters and result; batch first, no masks.

    Queries may have a batch of 1, which stands for B equal ones: they are projected once. Weights
    are formed only when asked for.

    Args:
        embed_dims (int): D, a multiple of ``num_heads``.
        num_heads (int): H.
        dropout (float): Of the attention weights, in training.

    Raises:
        ValueError: If the heads do not share out the width.

    Example:
        >>> import torch
        >>> from mlic.models import Attention
        >>> attention = Attention(embed_dims=8, num_heads=2, dropout=0.0)
        >>> tokens = torch.rand(2, 5, 8)
        >>> attended, weights = attention(torch.rand(1, 3, 8), tokens, tokens, need_weights=True)
        >>> attended.shape, weights.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 3, 5]))
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float) -> None:
        check_heads(embed_dims, num_heads)
        super().__init__(embed_dims, num_heads, dropout, batch_first=True)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query (Tensor): (B, L, D) or (1, L, D).
            key (Tensor): (B, T, D).
            value (Tensor): (B, T, D).
            need_weights (bool): Return the weights, too. Defaults to False.

        Returns:
            tuple[Tensor]: (B, L, D), and the weights' mean over heads (B, L, T) or None.
        """
        query, key, value = (
            F.linear(tensor, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for tensor, weight, bias in zip(
                (query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
            )
        )  # (B, H, L, D / H), (B, H, T, D / H), (B, H, T, D / H)
        query = query.expand(key.shape[0], -1, -1, -1)
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
            return self._merge(attended), None
        dtype = raised(query.dtype)  # of the logits, as in the fused one
        with torch.autocast(query.device.type, enabled=False):
            scores = query.to(dtype) @ key.to(dtype).transpose(-2, -1) / math.sqrt(self.head_dim)
        weights = F.dropout(scores.softmax(dim=-1), dropout)  # (B, H, L, T)
        return self._merge(weights.to(value.dtype) @ value), weights.mean(dim=1)

    def _merge(self, attended: Tensor) -> Tensor:
        """(B, H, L, D / H) → (B, L, D), through the output projection."""
        return self.out_proj(attended.transpose(1, 2).flatten(2))
