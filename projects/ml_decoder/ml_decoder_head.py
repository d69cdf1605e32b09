"""ML-Decoder: group queries attend to the feature map, and each scores its group of classes.

Shapes in this module: B images, C classes, K input channels, D embed dims, T = h * w tokens,
G queries, S = ceil(C / G) classes of a query.
"""

import math

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.checks import check_counts, log_odds
from mlic.models.heads.known_label_head import KnownLabelHead
from mlic.models.layers.attention import Attention
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.post_norm import FeedForward

PUBLISHED_LOSS = dict(type='StopGradAsymmetricLoss', gamma_neg=4.0, clip=0.05, eps=1e-8)


@MODELS.register_module()
class MLDecoderHead(KnownLabelHead):
    """Head of ML-Decoder (Ridnik et al., *ML-Decoder: Scalable and Versatile Classification Head*,
    WACV 2023).

    One decoder layer without self-attention: queries that are drawn once and not learned attend
    to the projected tokens; query g scores the classes g * S to g * S + S - 1. There are no
    positions.

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        num_queries (int): G, at most C is used. Defaults to 100: one query for each class where C
            is not larger.
        embed_dims (int): D, a multiple of ``num_heads``. Defaults to 768.
        num_heads (int): Defaults to 8.
        feedforward_channels (int): Defaults to 2048.
        dropout (float): Probability, of attention weights and after each block. Defaults to 0.1.
        prior_prob (float, optional): Start the bias of every class at the log-odds of this
            probability. Defaults to None: 0, as published.
        loss (dict): Loss of logits and a multi-hot target. Defaults to the published asymmetric
            loss (4, 0, clip 0.05), summed over classes.
        thr, topk, init_cfg: See ``KnownLabelHead``.

    Raises:
        ValueError: If there is no query, the heads do not share out D, or ``prior_prob`` is not
            between 0 and 1, both excluded.

    Example:
        >>> import torch
        >>> from projects.ml_decoder import MLDecoderHead
        >>> head = MLDecoderHead(num_classes=3, in_channels=16)
        >>> head((torch.rand(2, 16, 7, 7),)).shape
        torch.Size([2, 3])
    """

    constant_buffers = ('query_embed',)

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_queries: int = 100,
        embed_dims: int = 768,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        prior_prob: float | None = None,
        loss: dict = PUBLISHED_LOSS,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss, thr, topk, init_cfg)
        check_counts(num_queries=num_queries)
        num_queries = min(num_queries, num_classes)
        self.in_channels = in_channels
        self.input_proj = nn.Linear(in_channels, embed_dims)
        self.register_buffer('query_embed', torch.empty(num_queries, embed_dims))
        self.query_embed.normal_()
        self.query_drop = nn.Dropout(dropout)
        self.query_norm = nn.LayerNorm(embed_dims)
        self.attn = Attention(embed_dims, num_heads, dropout)
        self.attn_drop = nn.Dropout(dropout)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.ffn = FeedForward(embed_dims, feedforward_channels, dropout)
        self.ffn_norm = nn.LayerNorm(embed_dims)
        group_size = math.ceil(num_classes / num_queries)
        self.weight = nn.Parameter(torch.empty(num_queries, embed_dims, group_size))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_normal_(self.weight)
        # a query of its own belongs to a class, one that several share stays where it is
        query, weight = ((0,), (0,)) if group_size == 1 else ((), (0, 2))
        self.by_class = dict(query_embed=query, weight=weight, bias=(0,))
        if prior_prob is not None:
            nn.init.constant_(self.bias, log_odds(prior_prob))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last feature map, (B, K, h, w) or tokens (B, T, K), to logits (B, C).

        Raises:
            ValueError: If the feature map has other channels.
        """
        feature_map = as_feature_map(self.pre_logits(feats), self)
        tokens = self.input_proj(feature_map.flatten(2).transpose(1, 2)).relu()  # (B, T, D)
        queries = self.query_embed.expand(len(tokens), -1, -1)  # (B, G, D)
        # without self-attention the published layer adds the queries' dropout to themselves
        embeds = self.query_norm(queries + self.query_drop(queries))
        attended, _ = self.attn(embeds, tokens, tokens)
        embeds = self.attn_norm(embeds + self.attn_drop(attended))
        embeds = self.ffn_norm(embeds + self.ffn(embeds))
        with torch.autocast(embeds.device.type, enabled=False):  # logits are of the weight's dtype
            embeds = embeds.to(self.weight.dtype)
            groups = torch.einsum('bgd,gds->bgs', embeds, self.weight)  # (B, G, S)
        return groups.flatten(1)[:, : self.num_classes] + self.bias
