"""SALGL: features of the classes, spread over the label graph of the image's scene.

Shapes in this module: B images, C classes, S scenes, K channels, D embed dims, N = h * w cells.
"""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.gated_graph import GatedGraph
from mlic.models.layers.gather import gather_rows
from mlic.models.layers.label_vectors import LabelVectors
from mlic.models.layers.post_norm import EncoderLayer
from mlic.models.layers.scene_graph import SceneGraph
from mlic.models.layers.semantic_attention import SemanticAttention
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class SALGLNeck(TrainingParts, BaseModule):
    r"""Label embeddings of SALGL (Zhu et al., *Scene-Aware Label Graph Learning for Multi-Label
    Image Classification*, ICCV 2023), in a ``NeckLossClassifier``, for heads that take such.

    An encoder layer gives cells; the softmax of a linear map of their mean is p, the probabilities
    of S scenes. In training the batch's labels are counted in their scenes first; then each image
    gets the graph of its own (``SceneGraph``). ``SemanticAttention`` makes a feature F of each
    class, ``GatedGraph`` spreads it over the graph, which gives H, and the label embedding is
    :math:`\tanh(W [F; H] + b)`. ``loss_sample_entropy`` makes images sure of their scene, and
    ``loss_batch_entropy`` all scenes equally frequent; with means over the images of all processes:

    .. math::
        w_1 \overline{H(p)} + w_2 (H(1/S) - H(\bar p)), \ H(p) = -\sum_s p_s \log(p_s + 10^{-7})

    Args:
        in_channels (int): K, channels of the backbone's last feature map.
        num_classes (int): C.
        embed_dims (int): D. Defaults to 2048.
        node_channels (int, optional): Width of cells, F and H; a 1x1 convolution maps K to it
            first, for small machines. Defaults to None: K, without one, as published.
        num_heads, feedforward_channels, dropout: Of the encoder layer. Default to 8, 2048, 0.1.
        hidden_channels (int): Width inside the attention. Defaults to 1024.
        num_steps, both_ways: See ``GatedGraph``. Default to 3 and True, as published.
        vectors (dict, optional): Of ``LabelVectors``. Defaults to None: 300 numbers each, learned.
        graph (dict, optional): Of ``SceneGraph``. Defaults to None: 6 scenes.
        entropy_weights (tuple[float]): w of the two losses. Defaults to (1, 100), as published.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Example:
        >>> import torch
        >>> from projects.salgl import SALGLNeck
        >>> neck = SALGLNeck(in_channels=16, num_classes=3, embed_dims=16).eval()
        >>> [label_embeds] = neck((torch.rand(2, 16, 7, 7),))
        >>> label_embeds.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 2048,
        node_channels: int | None = None,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        hidden_channels: int = 1024,
        num_steps: int = 3,
        both_ways: bool = True,
        vectors: dict | None = None,
        graph: dict | None = None,
        entropy_weights: tuple[float, float] = (1.0, 100.0),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.of_samples, self.of_batch = entropy_weights
        self.vectors = LabelVectors(num_classes, **(vectors or {}))
        self.graph = SceneGraph(num_classes, **(graph or {}))
        nodes = node_channels or in_channels
        self.input_proj = nn.Conv2d(in_channels, nodes, 1) if node_channels else nn.Identity()
        self.encoder = EncoderLayer(nodes, num_heads, feedforward_channels, dropout)
        self.scene = nn.Linear(nodes, len(self.graph.counts), bias=False)
        self.attention = SemanticAttention(nodes, self.vectors.vectors.shape[1], hidden_channels)
        self.gated_graph = GatedGraph(nodes, num_steps, both_ways=both_ways)
        self.output = nn.Linear(2 * nodes, embed_dims)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Label embeddings (B, C, D), one item, of a map (B, K, h, w) or tokens, without labels.

        Raises:
            ValueError: In a training step; if the map has other channels.
        """
        if self.training and torch.is_grad_enabled():
            raise ValueError(
                "SALGLNeck needs the labels in training: set model.type to 'NeckLossClassifier'"
            )
        return self._embed(*self._see(feats)[:2])

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample]
    ) -> tuple[tuple[Tensor], dict[str, Tensor]]:
        """Count the labels of the B samples; then what :meth:`forward` gives, and the losses."""
        cells, scenes, _ = self._see(feats)
        counts = self.graph.count(scenes, data_samples)
        most = _entropy(torch.full_like(scenes[0], 1 / len(scenes[0])))
        losses = dict(
            loss_sample_entropy=self.of_samples * _entropy(scenes).mean(),
            loss_batch_entropy=self.of_batch * (most - _entropy(gather_rows(scenes).mean(0))),
        )
        return self._embed(cells, scenes, counts), losses

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Where each class looks (B, C, h, w); each map sums to 1."""
        cells, _, size = self._see(feats)
        return self.attention(cells, self.vectors())[1].unflatten(-1, size)

    def _see(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, torch.Size]:
        """Cells (B, N, K), probabilities of the scenes (B, S) in at least float32, and (h, w)."""
        feature_map = self.input_proj(as_feature_map(feats[-1], self))
        cells = self.encoder(feature_map.flatten(2).mT)
        scenes = at_least_float32(self.scene(cells.mean(1))).softmax(-1)
        return cells, scenes, feature_map.shape[-2:]

    def _embed(self, cells: Tensor, scenes: Tensor, counts: Tensor | None = None) -> tuple[Tensor]:
        """The label embeddings."""
        features, _ = self.attention(cells, self.vectors())  # (B, C, K)
        nodes = self.gated_graph(features, self.graph(scenes, counts))
        return (self.output(torch.cat([features, nodes], dim=-1)).tanh(),)


def _entropy(p: Tensor) -> Tensor:
    """H over the last dimension."""
    return -(p * (p + 1e-7).log()).sum(-1)
