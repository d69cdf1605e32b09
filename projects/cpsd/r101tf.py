"""CPSD's R101TF: cells and classes attend to one another; one linear map scores the classes.

Shapes in this module: B images, C classes, K channels, D embed dims, T tokens, H heads.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import raised
from mlic.models.checks import check_counts
from mlic.models.heads.label_embed_head import LabelEmbedHead
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.label_vectors import LabelVectors
from mlic.models.layers.post_norm import FeedForward
from mlic.models.training_parts import TrainingParts


class WideAttention(nn.Module):
    """Self-attention (B, T, D) → (B, T, D), H heads of D each, without biases but the last."""

    def __init__(self, embed_dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        check_counts(num_heads=num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * num_heads * embed_dims, bias=False)
        self.out = nn.Linear(num_heads * embed_dims, embed_dims)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Every token sees every token."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv)  # (B, H, T, D)
        return self.drop(self.out(attended.transpose(1, 2).flatten(2)))


class PreNormLayer(nn.Module):
    """Attention and a feed-forward net, each of normalised tokens and added to them."""

    def __init__(self, dims: int, num_heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.LayerNorm(dims), nn.LayerNorm(dims)
        self.attn = WideAttention(dims, num_heads, dropout)
        self.ffn = FeedForward(dims, feedforward, dropout, nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        tokens = tokens + self.attn(self.attn_norm(tokens))
        return tokens + self.ffn(self.ffn_norm(tokens))


@MODELS.register_module()
class R101TFNeck(TrainingParts, BaseModule):
    """Label embeddings of R101TF (CPSD, Xu et al.), for ``R101TFHead`` or ``LabelEmbedHead``.

    The cells of the feature map, through a linear map, and the classes' vectors, through a linear
    map and a ReLU, are the tokens of a pre-norm transformer without positions and without a last
    norm. A label embedding is what comes out at the place of its class.

    Args:
        in_channels (int): K.
        num_classes (int): C.
        embed_dims (int): D. Defaults to 1024.
        num_layers (int): Defaults to 3.
        num_heads (int): H, of D numbers each. Defaults to 4.
        feedforward_channels (int): Defaults to 1024.
        dropout (float): Defaults to 0.1.
        vectors (dict, optional): Arguments of ``LabelVectors``. Defaults to None: 300 numbers
            a class, learned; the released code has GloVe's.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Example:
        >>> import torch
        >>> from projects.cpsd import R101TFNeck
        >>> neck = R101TFNeck(in_channels=16, num_classes=3, embed_dims=8, feedforward_channels=16)
        >>> [label_embeds] = neck((torch.rand(2, 16, 7, 7),))
        >>> label_embeds.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 1024,
        num_layers: int = 3,
        num_heads: int = 4,
        feedforward_channels: int = 1024,
        dropout: float = 0.1,
        vectors: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels, self.num_classes = in_channels, num_classes
        self.vectors = LabelVectors(num_classes, **(vectors or {}))
        self.input_proj = nn.Linear(in_channels, embed_dims)
        self.label_proj = nn.Linear(self.vectors.vectors.shape[1], embed_dims)
        layer = embed_dims, num_heads, feedforward_channels, dropout
        self.layers = nn.Sequential(*(PreNormLayer(*layer) for _ in range(num_layers)))

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """A feature map, the last (B, K, h, w), or tokens → one item, ``label_embeds`` (B, C, D).

        Raises:
            ValueError: If it has other channels.
        """
        cells = as_feature_map(feats[-1], self).flatten(2).mT
        labels = self.label_proj(self.vectors()).relu().expand(len(cells), -1, -1)
        tokens = torch.cat([self.input_proj(cells), labels.to(cells.dtype)], dim=1)
        return (self.layers(tokens)[:, -self.num_classes :],)


@MODELS.register_module()
class R101TFHead(LabelEmbedHead):
    """``LabelEmbedHead`` whose linear map is the same for all classes.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the label embeddings.
        loss_cls, thr, topk, init_cfg: See ``LabelEmbedHead``.

    Example:
        >>> import torch
        >>> from projects.cpsd import R101TFHead
        >>> R101TFHead(num_classes=3, in_channels=8)((torch.rand(2, 3, 8),)).shape
        torch.Size([2, 3])
    """

    by_class = {'fc.weight': (), 'fc.bias': ()}

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, None, thr, topk, init_cfg)
        self.fc = SharedLinear(in_channels, 1)


class SharedLinear(nn.Linear):
    """(B, C, D) → logits (B, C), in at least float32."""

    def forward(self, label_embeds: Tensor) -> Tensor:
        """One score for each embedding."""
        with torch.autocast(label_embeds.device.type, enabled=False):
            dtype = raised(label_embeds.dtype)
            weight, bias = self.weight.to(dtype), self.bias.to(dtype)
            return F.linear(label_embeds.to(dtype), weight, bias)[..., 0]
