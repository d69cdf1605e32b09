"""SARL: one embedding per class from a feature map.

Shapes in this module: B images, C classes, K input channels, D embed dims, h x w feature cells,
T = h * w tokens.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention
from .position_encoding import sine_position_encoding


@MODELS.register_module()
class SARLNeck(BaseModule):
    """Semantic-aware representation learning of SADCL (ECAI 2023), Query2Label's transformer.

    Learned class queries attend to the feature map; the decoder's output is one embedding per
    class. Post-norm layers, ReLU, sine positions added to queries and keys of the features,
    class queries added to the query only, no self-attention between the classes.

    Args:
        in_channels (int): K, channels of the backbone's last feature map.
        num_classes (int): C.
        embed_dims (int): D, the width of the transformer; even, a multiple of ``num_heads``.
            Defaults to 2048.
        num_heads (int): Defaults to 4.
        feedforward_channels (int): Hidden width of each feed-forward block. Defaults to 8192.
        num_encoder_layers (int): 0 gives the paper's SARL* (no encoder). Defaults to 1.
        num_decoder_layers (int): At least 1. Defaults to 2.
        dropout (float): Probability, of attention weights and after each block. Defaults to 0.1.
        with_cp (bool): Keep the layers' inputs only and compute the rest again on the way back:
            less memory for more time, the same result. Defaults to False.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    A 1x1 convolution ``input_proj`` maps K to D channels; it is the identity when K = D.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 2048,
        num_heads: int = 4,
        feedforward_channels: int = 8192,
        num_encoder_layers: int = 1,
        num_decoder_layers: int = 2,
        dropout: float = 0.1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if embed_dims % num_heads or embed_dims % 2:
            raise ValueError(
                f'embed_dims must be even and a multiple of num_heads, got {embed_dims} and '
                f'{num_heads}'
            )
        if num_decoder_layers < 1:
            raise ValueError(f'num_decoder_layers must be at least 1, got {num_decoder_layers}')
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.with_cp = with_cp
        self._positions: dict[tuple, Tensor] = {}
        layer = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.input_proj = (
            nn.Identity() if in_channels == embed_dims else nn.Conv2d(in_channels, embed_dims, 1)
        )
        self.encoder = nn.ModuleList(EncoderLayer(**layer) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(**layer) for _ in range(num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(embed_dims)
        self.query_embed = nn.Embedding(num_classes, embed_dims)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Embed each class in each image.

        Args:
            feats (tuple[Tensor]): Feature maps; the last, (B, K, h, w), is used.

        Returns:
            tuple[Tensor]: One item, ``label_embeds`` (B, C, D).
        """
        label_embeds, _ = self._decode(feats, need_weights=False)
        return (label_embeds,)

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Where each class looks: attention of the last decoder layer, averaged over heads.

        Args:
            feats (tuple[Tensor]): As in :meth:`forward`.

        Returns:
            Tensor: (B, C, h, w); each map sums to 1 (in evaluation mode).
        """
        height, width = feats[-1].shape[-2:]
        _, attention = self._decode(feats, need_weights=True)
        return attention.unflatten(-1, (height, width))

    def _decode(
        self, feats: tuple[Tensor, ...], need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Label embeddings (B, C, D), and the last attention (B, C, T) if asked for."""
        memory, pos = self._encode(feats[-1])
        query_pos = self.query_embed.weight[None]  # (1, C, D)
        # the same for every image until the first layer has looked at the features
        label_embeds, attention = torch.zeros_like(query_pos), None
        for index, layer in enumerate(self.decoder):
            is_last = index == len(self.decoder) - 1
            label_embeds, attention = self._run(
                layer, label_embeds, query_pos, memory, pos, need_weights and is_last
            )
        return self.decoder_norm(label_embeds), attention

    def _encode(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D) and their positions (1, T, D)."""
        if feature_map.dim() != 4 or feature_map.shape[1] != self.in_channels:
            raise ValueError(
                f'SARLNeck(in_channels={self.in_channels}) takes a feature map '
                f'(B, {self.in_channels}, h, w), got {tuple(feature_map.shape)}; set '
                "the config's neck.in_channels to the backbone's channels"
            )
        projected = self.input_proj(feature_map)  # (B, D, h, w)
        memory = projected.flatten(2).transpose(1, 2)  # (B, T, D)
        pos = self._position_encoding(*projected.shape[-2:], memory)
        for layer in self.encoder:
            memory = self._run(layer, memory, pos)
        return memory, pos

    def _run(self, layer: nn.Module, *inputs):
        """Call a layer, keeping its inputs only if ``with_cp``."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def _position_encoding(self, height: int, width: int, like: Tensor) -> Tensor:
        """Positions (1, T, D) in the dtype of the tokens; made once for each size."""
        key = (height, width, like.dtype, like.device)
        if key in self._positions:
            return self._positions[key]
        pos = sine_position_encoding(height, width, self.embed_dims, like.device)
        pos = pos.flatten(1).T[None].to(like.dtype)
        if type(pos) is Tensor and not torch.compiler.is_compiling():  # no tracer's stand-in
            self._positions[key] = pos
        return pos


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
