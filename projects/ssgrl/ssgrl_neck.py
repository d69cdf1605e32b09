"""SSGRL: features of each class by its word vector, then a graph network over the classes.

Shapes in this module: B images, C classes, K input channels, D embed dims, h x w feature cells.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.checks import check_counts
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.gated_graph import GatedGraph
from mlic.models.layers.label_graph import LabelGraph
from mlic.models.layers.label_vectors import LabelVectors
from mlic.models.layers.semantic_attention import SemanticAttention
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class SSGRLNeck(TrainingParts, BaseModule):
    r"""Label embeddings of SSGRL (Chen et al., *Learning Semantic-Specific Graph Representation for
    Multi-Label Image Recognition*, ICCV 2019), for ``LabelEmbedHead`` and what extends it.

    ``SemanticAttention`` makes a feature F of each class, ``GatedGraph`` spreads it over the graph,
    which gives H, and the label embedding is :math:`\tanh(W [H; F] + b)`.

    Args:
        in_channels (int): K, channels of the backbone's last feature map.
        num_classes (int): C.
        embed_dims (int): D. Defaults to 2048.
        node_channels (int, optional): Width of F and H; a 1x1 convolution maps K to it first, for
            small machines. Defaults to None: K, without one, as published.
        hidden_channels (int): Width inside the attention. Defaults to 1024.
        num_steps (int): Of the graph network. Defaults to 3.
        pool_size (int): The map is first averaged over squares with this side; cells that fill
            none, right and below, are left out. The released code has 2 (images of 576 px, a map
            of 18 x 18 cells, 9 x 9 after it). Defaults to 1: the map as it is.
        shared_gate (bool): A mistake of the released code, see ``GatedGraph``. Defaults to False.
        vectors (dict, optional): Arguments of ``LabelVectors``. Defaults to None: 300 numbers
            a class, learned; the paper has GloVe's.
        graph (dict, optional): Arguments of ``LabelGraph``. Defaults to None: of kind
            'conditional'.
        classes_at_once (int): See ``SemanticAttention``. Defaults to 8.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Raises:
        ValueError: If ``pool_size`` or ``classes_at_once`` is below 1; and see ``LabelVectors`` and
            ``LabelGraph``.

    Example:
        >>> import torch
        >>> from projects.ssgrl import SSGRLNeck
        >>> neck = SSGRLNeck(in_channels=16, num_classes=3, embed_dims=8, hidden_channels=8)
        >>> [label_embeds] = neck((torch.rand(2, 16, 7, 7),))
        >>> label_embeds.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 2048,
        node_channels: int | None = None,
        hidden_channels: int = 1024,
        num_steps: int = 3,
        pool_size: int = 1,
        shared_gate: bool = False,
        vectors: dict | None = None,
        graph: dict | None = None,
        classes_at_once: int = 8,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_counts(pool_size=pool_size)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.pool_size = pool_size
        self.vectors = LabelVectors(num_classes, **(vectors or {}))
        self.graph = LabelGraph(num_classes, **(graph or {}))
        vector_dims = self.vectors.vectors.shape[1]
        nodes = node_channels or in_channels
        self.input_proj = nn.Conv2d(in_channels, nodes, 1) if node_channels else nn.Identity()
        self.attention = SemanticAttention(nodes, vector_dims, hidden_channels, classes_at_once)
        self.gated_graph = GatedGraph(nodes, num_steps, shared_gate)
        self.output = nn.Linear(2 * nodes, embed_dims)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Embed each class in each image.

        Args:
            feats (tuple[Tensor]): The last is a feature map (B, K, h, w), or tokens (B, T, K).

        Returns:
            tuple[Tensor]: One item, ``label_embeds`` (B, C, D).

        Raises:
            ValueError: If the map has other channels, or fewer cells than ``pool_size``.
        """
        features, _ = self._attend(self._feature_map(feats))  # (B, C, K)
        nodes = self.gated_graph(features, self.graph())
        return (self.output(torch.cat([nodes, features], dim=-1)).tanh(),)

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Where each class looks (B, C, h, w), of the map after ``pool_size``; each sums to 1."""
        feature_map = self._feature_map(feats)
        return self._attend(feature_map)[1].unflatten(-1, feature_map.shape[-2:])

    def _feature_map(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The map that is attended to, with the width of the nodes."""
        feature_map = as_feature_map(feats[-1], self)
        if self.pool_size > 1:
            if min(feature_map.shape[-2:]) < self.pool_size:
                raise ValueError(
                    f'a map of {tuple(feature_map.shape[-2:])} cells has no square of pool_size='
                    f'{self.pool_size}: use larger images or a smaller neck.pool_size'
                )
            feature_map = F.avg_pool2d(feature_map, self.pool_size)
        return self.input_proj(feature_map)

    def _attend(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, K) and weights (B, C, h * w)."""
        return self.attention(feature_map.flatten(2).mT, self.vectors())
