"""The attention block of MulCon, which is that of the Set Transformer.

Shapes in this module: B images, Q query rows, T key rows, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mlic.models.checks import check_heads


class AttentionBlock(nn.Module):
    r"""MAB(Q, K) of the Set Transformer (Lee et al., ICML 2019), as MulCon uses it.

    With :math:`q = W_q Q`, :math:`k = W_k K`, :math:`v = W_v K`, each cut into heads of
    :math:`D / heads` channels:

    .. math::
        O &= LN(concat_{heads}(q + softmax(q k^T / \sqrt{D})\, v)) \\
        MAB(Q, K) &= LN(O + ReLU(W_o O))

    What differs from ``nn.MultiheadAttention``: the residual is the projected query, the scale is
    that of the whole width (not of a head), and there is no dropout.

    Args:
        query_channels (int): Width of the rows of Q.
        key_channels (int): Width of the rows of K.
        embed_dims (int): D, a multiple of ``num_heads``.
        num_heads (int): Defaults to 4.

    Raises:
        ValueError: If the heads do not share out the width.

    Example:
        >>> import torch
        >>> from projects.mulcon import AttentionBlock
        >>> block = AttentionBlock(query_channels=8, key_channels=16, embed_dims=8, num_heads=2)
        >>> block(torch.rand(1, 3, 8), torch.rand(2, 49, 16)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self, query_channels: int, key_channels: int, embed_dims: int, num_heads: int = 4
    ) -> None:
        super().__init__()
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.query_proj = nn.Linear(query_channels, embed_dims)
        self.key_proj = nn.Linear(key_channels, embed_dims)
        self.value_proj = nn.Linear(key_channels, embed_dims)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self.output_norm = nn.LayerNorm(embed_dims)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, Q, query_channels), (B, T, key_channels) → (B, Q, D)."""
        query = self.query_proj(queries)
        heads = [
            rows.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, rows, D / heads)
            for rows in (query, self.key_proj(keys), self.value_proj(keys))
        ]
        attended = F.scaled_dot_product_attention(*heads, scale=query.shape[-1] ** -0.5)
        output = self.attn_norm(query + attended.transpose(1, 2).flatten(2))  # (B, Q, D)
        return self.output_norm(output + self.output_proj(output).relu())
