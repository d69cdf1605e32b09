"""Post-norm layers of DETR and Query2Label: positions in queries and keys only.

Shapes in this module: B images, C classes, D embed dims, T tokens.
"""

from torch import Tensor, nn

from .attention import Attention


class FeedForward(nn.Sequential):
    """Linear, activation, dropout, linear, dropout: (..., D) to (..., D).

    Args:
        embed_dims (int): D.
        feedforward_channels (int): Hidden width.
        dropout (float): Probability, after the activation and at the end.
        activation (nn.Module, optional): Between the two. Defaults to None: ReLU.

    Example:
        >>> import torch
        >>> from mlic.models import FeedForward
        >>> layer = FeedForward(embed_dims=8, feedforward_channels=16, dropout=0.0)
        >>> layer(torch.rand(2, 49, 8)).shape
        torch.Size([2, 49, 8])
    """

    def __init__(
        self,
        embed_dims: int,
        feedforward_channels: int,
        dropout: float,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(
            nn.Linear(embed_dims, feedforward_channels),
            activation or nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feedforward_channels, embed_dims),
            nn.Dropout(dropout),
        )


class PostNormLayer(nn.Module):
    """What both layers are made of: attention and a feed-forward net, each added, then normalised.

    Args:
        embed_dims (int): D.
        num_heads (int): Heads of the attention.
        feedforward_channels (int): Hidden width of the feed-forward net.
        dropout (float): Of attention weights and of what is added.
        activation (nn.Module, optional): Of the feed-forward net. Defaults to None: ReLU.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads, dropout)
        self.attn_drop = nn.Dropout(dropout)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.ffn = FeedForward(embed_dims, feedforward_channels, dropout, activation)
        self.ffn_norm = nn.LayerNorm(embed_dims)

    def add_and_norm(self, x: Tensor, attended: Tensor) -> Tensor:
        """Both residual steps after the attention: (..., D) twice → (..., D)."""
        x = self.attn_norm(x + self.attn_drop(attended))
        return self.ffn_norm(x + self.ffn(x))


class EncoderLayer(PostNormLayer):
    """Self-attention over the tokens; positions enter queries and keys only.

    Example:
        >>> import torch
        >>> from mlic.models import EncoderLayer
        >>> layer = EncoderLayer(embed_dims=8, num_heads=2, feedforward_channels=16, dropout=0.0)
        >>> layer(torch.rand(2, 49, 8)).shape
        torch.Size([2, 49, 8])
    """

    def forward(
        self, memory: Tensor, pos: Tensor | None = None, need_weights: bool = False
    ) -> Tensor:
        """(B, T, D), (1, T, D) or no positions → (B, T, D); need_weights: see ``Attention``."""
        query = memory if pos is None else memory + pos
        attended, _ = self.attn(query, query, memory, need_weights)
        return self.add_and_norm(memory, attended)


class DecoderLayer(PostNormLayer):
    """Attention of the class queries to the tokens, without self-attention between queries.

    Example:
        >>> import torch
        >>> from mlic.models import DecoderLayer
        >>> layer = DecoderLayer(embed_dims=8, num_heads=2, feedforward_channels=16, dropout=0.0)
        >>> queries, positions = torch.rand(1, 3, 8), torch.zeros(1, 49, 8)
        >>> cells = torch.rand(2, 49, 8)
        >>> label_embeds, weights = layer(queries, queries, cells, positions, need_weights=True)
        >>> label_embeds.shape, weights.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 3, 49]))
    """

    def forward(
        self,
        label_embeds: Tensor,
        query_pos: Tensor,
        memory: Tensor,
        pos: Tensor,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """(B or 1, C, D), (1, C, D), (B, T, D), (1, T, D) → (B, C, D) and (B, C, T) or None."""
        attended, attention = self.attn(
            label_embeds + query_pos, memory + pos, memory, need_weights
        )
        return self.add_and_norm(label_embeds, attended), attention
