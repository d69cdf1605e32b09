"""TDRG: scores by a transformer over three scales, and by a graph that it guides.

Shapes in this module: B images, C classes, K3 and K4 channels of the maps, D width of the
transformer, E width of a node's own half, h x w cells, N = h * w.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.heads.multi_score_head import MultiScoreHead
from mlic.models.layers.class_activation import ClassActivation
from mlic.models.layers.dynamic_graph import DynamicGraph
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.group_linear import GroupLinear
from mlic.models.layers.post_norm import EncoderLayer

SHARE = 0.05  # of the cells, over which the activation of a class is averaged


@MODELS.register_module()
class TDRGHead(MultiScoreHead):
    r"""Head of TDRG (Zhao et al., *Transformer-based Dual Relation Graph for Multi-label Image
    Recognition*, ICCV 2021), on the maps of the last two stages.

    The two and a third of half the size, D channels each, get the product of all three added and
    go through one encoder, which gives :math:`f_3, f_4, f_5`. There are three scores: ``trans``, a
    linear layer over the largest values of each; ``gcn``, over the nodes of a ``DynamicGraph``
    whose context is the mean of each; ``sac``, the mean activation in the 5 % of the cells
    (rounded, at least one) where a class is most active. With the activation
    :math:`M_{cn} = w_c x_n`, a node is

    .. math::
        V_c = [\textstyle\sum_n \sigma(M_{cn}) (T x_n + t);\;
               G \sum_n \sigma(M_{cn}) f_{4,n} + g], \quad Z = V + U

    No gradient goes from the graph to the encoder, and from its half of a node to the activation.
    The prediction is 0.7 ``trans`` + 0.3 ``gcn``. It and each of the three have a loss.

    Args:
        num_classes (int): C.
        in_channels (tuple[int, int]): K3 and K4. Defaults to ResNet-101's.
        embed_dims (int): D. Defaults to 512.
        graph_dims (int): E. Defaults to 512.
        num_layers (int): Of the encoder. Defaults to 3.
        num_heads (int): Of its attention. Defaults to 4.
        feedforward_channels (int): Defaults to 2048.
        attend (str): What a cell attends to. 'cells': to those of its image, as in the paper.
            'batch': to the same cell of all images of the batch, as in the released code and its
            published numbers; a prediction then depends on the other images. Defaults to 'cells':
            scores of an image must not change with the images that are predicted with it.
        loss_weights (Mapping[str, float], optional): See ``MultiScoreHead``. Defaults to None:
            1 for 'cls', 'trans', 'gcn' and 'sac'.
        loss_cls, thr, topk, init_cfg: See ``MultiScoreHead``.

    Raises:
        ValueError: If ``attend`` is neither, or the heads do not share out D.

    Example:
        >>> import torch
        >>> from projects.tdrg import TDRGHead
        >>> head = TDRGHead(num_classes=3, in_channels=(8, 16), embed_dims=8, graph_dims=8)
        >>> head((torch.rand(2, 8, 14, 14), torch.rand(2, 16, 7, 7))).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: tuple[int, int] = (1024, 2048),
        embed_dims: int = 512,
        graph_dims: int = 512,
        num_layers: int = 3,
        num_heads: int = 4,
        feedforward_channels: int = 2048,
        attend: str = 'cells',
        loss_weights: Mapping[str, float] | None = None,
        loss_cls: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        loss_weights = loss_weights or dict(cls=1.0, trans=1.0, gcn=1.0, sac=1.0)
        super().__init__(num_classes, loss_weights, loss_cls, thr, topk, init_cfg)
        self.in_channels = tuple(in_channels)
        if attend not in ('cells', 'batch'):
            raise ValueError(f"attend must be 'cells' or 'batch', got {attend!r}")
        self.mixes_images = attend == 'batch'
        fine, coarse = self.in_channels
        projections = nn.Conv2d(fine, embed_dims, 1), nn.Conv2d(coarse, embed_dims, 1)
        self.projections = nn.ModuleList([*projections, nn.Conv2d(coarse, embed_dims, 3, 2)])
        layer = embed_dims, num_heads, feedforward_channels, 0.0  # no dropout
        self.encoder = nn.ModuleList(EncoderLayer(*layer, nn.GELU()) for _ in range(num_layers))
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.trans_fc = GroupLinear(num_classes, 3 * embed_dims)
        self.activation = ClassActivation(coarse, num_classes)
        self.transform = nn.Conv2d(coarse, graph_dims, 1)
        self.guidance = nn.Linear(embed_dims, embed_dims)
        self.graph = DynamicGraph(num_classes, graph_dims + embed_dims, 3 * embed_dims)
        self.fc = GroupLinear(num_classes, graph_dims + embed_dims)

    def scores(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Logits (B, C) of 'trans', 'gcn' and 'sac'.

        Args:
            feats (tuple[Tensor]): The last two are used, (B, K3, …) and (B, K4, h, w).

        Raises:
            ValueError: If there are fewer, their channels are others, or the last has fewer than
                3 x 3 cells; in training, if there is one image.
        """
        fine, coarse = self._feature_maps(feats)
        scales = cross_scale([f(x) for f, x in zip(self.projections, (fine, coarse, coarse))])
        scales = [self._encode(each) for each in scales]  # (B, D, N) each, with an N of its own
        pooled = torch.cat([each.amax(2) for each in scales], dim=1)
        activation = self.activation(coarse).flatten(2)  # (B, C, N)
        most = max(1, round(SHARE * activation.shape[2]))
        return dict(
            trans=self.trans_fc(pooled[:, None].expand(-1, self.num_classes, -1)),
            gcn=self.fc(self._embed(coarse, activation, [each.detach() for each in scales])),
            sac=activation.topk(most, dim=2).values.mean(2),
        )

    def fuse(self, scores: Mapping[str, Tensor]) -> Tensor:
        """0.7 'trans' + 0.3 'gcn', (B, C)."""
        return 0.7 * scores['trans'] + 0.3 * scores['gcn']

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """(B, C, h, w) of the last feature map, see ``ClassActivation``; feats as in ``scores``."""
        return self.activation.attention_maps(self._feature_maps(feats)[1])

    def _encode(self, feature_map: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D, N)."""
        order = (2, 0, 1) if self.mixes_images else (0, 2, 1)
        tokens = feature_map.flatten(2).permute(order)  # (N, B, D) or (B, N, D): over the second
        for layer in self.encoder:
            # A product of three maps has no bound: at logits of 1e9 the fused attention, whose
            # backward pass forms the weights anew as exp(logit - logsumexp), gives NaN.
            tokens = layer(tokens, need_weights=True)
        return tokens.permute((1, 2, 0) if self.mixes_images else (0, 2, 1))

    def _embed(self, feature_map: Tensor, activation: Tensor, scales: list[Tensor]) -> Tensor:
        """Nodes (B, C, E + D) after the graph."""
        gates = activation.sigmoid()
        content = gates @ self.transform(feature_map).flatten(2).transpose(1, 2)
        guide = (gates @ scales[1].transpose(1, 2)).detach()
        nodes = torch.cat([content, self.guidance(guide)], dim=2)
        context = torch.cat([each.mean(2) for each in scales], dim=1)
        return nodes + self.graph(nodes, context)

    def _feature_maps(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        """The last two maps."""
        owner = f'TDRGHead(in_channels={self.in_channels})'
        if len(feats) < 2:
            raise ValueError(
                f"{owner} takes two feature maps, got {len(feats)}: set the config's "
                'backbone.out_indices to two stages'
            )
        pairs = zip(feats[-2:], self.in_channels)
        maps = [as_feature_map(feat, self, channels) for feat, channels in pairs]
        height, width = maps[1].shape[-2:]
        if min(height, width) < 3:
            raise ValueError(
                f'{owner} halves the last feature map, which must have at least 3 x 3 cells, got '
                f'{height} x {width}: use larger images'
            )
        return maps


def cross_scale(maps: list[Tensor]) -> list[Tensor]:
    """Add to each map, (B, D, h, w) of any sizes, the product of all, at the largest size."""

    def resize(feature_map: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.interpolate(feature_map, size, mode='bilinear', align_corners=True)

    sizes = [feature_map.shape[-2:] for feature_map in maps]
    fine, mid, coarse = (resize(each, tuple(map(max, zip(*sizes)))) for each in maps)
    product = fine * mid * coarse
    return [resize(each + product, size) for each, size in zip((fine, mid, coarse), sizes)]
