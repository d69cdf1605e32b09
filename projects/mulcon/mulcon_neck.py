"""MulCon's label-level embedding network: one embedding per class from a feature map.

Shapes in this module: B images, C classes, K input channels, D embed dims, T = h * w tokens.
"""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.layers.feature_map import as_feature_map
from mlic.models.training_parts import TrainingParts

from .attention_block import AttentionBlock


@MODELS.register_module()
class MulConNeck(TrainingParts, BaseModule):
    """Label embeddings of MulCon (Dao et al., *Multi-Label Image Classification with Contrastive
    Learning*, 2021).

    The tokens attend to one another twice, learned label queries attend to the tokens, and the
    labels attend to one another: ``X' = SAB(SAB(X))``, ``H = SAB(MAB(I, X'))`` with
    ``SAB(X) = MAB(X, X)``. There are no positions.

    Args:
        in_channels (int): K, channels of the backbone's last feature map.
        num_classes (int): C.
        embed_dims (int): D, width of the label embeddings. Defaults to 1024.
        token_dims (int, optional): Width of the tokens after the first block. Defaults to None:
            K, as published (2048 for ResNet-101).
        num_heads (int): Defaults to 4.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Example:
        >>> import torch
        >>> from projects.mulcon import MulConNeck
        >>> neck = MulConNeck(in_channels=16, num_classes=3, embed_dims=8)
        >>> [label_embeds] = neck((torch.rand(2, 16, 7, 7),))
        >>> label_embeds.shape
        torch.Size([2, 3, 8])
    """

    by_class = dict(query_embed=(0,))

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 1024,
        token_dims: int | None = None,
        num_heads: int = 4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        token_dims = token_dims or in_channels
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.query_embed = nn.Parameter(torch.empty(num_classes, embed_dims))
        nn.init.xavier_uniform_(self.query_embed)
        self.token_blocks = nn.ModuleList(
            AttentionBlock(channels, channels, token_dims, num_heads)
            for channels in (in_channels, token_dims)
        )
        self.label_from_tokens = AttentionBlock(embed_dims, token_dims, embed_dims, num_heads)
        self.label_block = AttentionBlock(embed_dims, embed_dims, embed_dims, num_heads)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Embed each class in each image.

        Args:
            feats (tuple[Tensor]): The last is used: a map (B, K, h, w), or tokens (B, T, K).

        Returns:
            tuple[Tensor]: One item, ``label_embeds`` (B, C, D).
        """
        feature_map = as_feature_map(feats[-1], self)
        tokens = feature_map.flatten(2).transpose(1, 2)  # (B, T, K)
        for block in self.token_blocks:
            tokens = block(tokens, tokens)
        queries = self.query_embed.expand(len(tokens), -1, -1)  # (B, C, D)
        label_embeds = self.label_from_tokens(queries, tokens)
        return (self.label_block(label_embeds, label_embeds),)
