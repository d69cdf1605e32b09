"""Post-norm transformer layers of SARL: ReLU, positions in queries and keys only.

Shapes in this module: B images, C classes, D embed dims, T tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from .attention import Attention


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear, dropout."""

    def __init__(self, embed_dims: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(embed_dims, feedforward_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feedforward_channels, embed_dims),
            nn.Dropout(dropout),
        )


class EncoderLayer(nn.Module):
    """Post-norm self-attention over the tokens; positions enter queries and keys only."""

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads, dropout)
        self.attn_drop = nn.Dropout(dropout)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.ffn = FeedForward(embed_dims, feedforward_channels, dropout)
        self.ffn_norm = nn.LayerNorm(embed_dims)

    def forward(self, memory: Tensor, pos: Tensor) -> Tensor:
        """(B, T, D), (1, T, D) → (B, T, D)."""
        query = memory + pos
        attended, _ = self.attn(query, query, memory)
        memory = self.attn_norm(memory + self.attn_drop(attended))
        return self.ffn_norm(memory + self.ffn(memory))


class DecoderLayer(nn.Module):
    """Post-norm attention of the class queries to the tokens, without self-attention."""

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads, dropout)
        self.attn_drop = nn.Dropout(dropout)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.ffn = FeedForward(embed_dims, feedforward_channels, dropout)
        self.ffn_norm = nn.LayerNorm(embed_dims)

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
        label_embeds = self.attn_norm(label_embeds + self.attn_drop(attended))
        return self.ffn_norm(label_embeds + self.ffn(label_embeds)), attention
