"""ADD-GCN's embeddings: class-wise content of the feature map, through two graphs.

Shapes in this module: B images, C classes, K input channels, D embed dims, h x w feature cells,
N = h * w.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.layers.class_activation import ClassActivation
from mlic.models.layers.dynamic_graph import SLOPE, DynamicGraph
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class ADDGCNNeck(TrainingParts, BaseModule):
    r"""Label embeddings of ADD-GCN (Ye et al., *Attention-Driven Dynamic Graph Convolutional
    Network for Multi-Label Image Recognition*, ECCV 2020).

    The activation of a class in a cell, :math:`M_{cn} = w_c x_n`, says where it is. With
    :math:`\lambda` the leaky ReLU of slope 0.2, a graph that all images share, S, and one that is
    the image's own, U (``DynamicGraph``, of H and the mean of H over the classes), the embeddings Z
    are

    .. math::
        V_c = \sum_n \sigma(M_{cn}) (T x_n + t), \quad H = V + \lambda(\lambda(S V) W + w), \quad
        Z = V + U

    Args:
        in_channels (int): K, channels of the backbone's last feature map.
        num_classes (int): C.
        embed_dims (int): D. Defaults to 1024.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Example:
        >>> import torch
        >>> from projects.add_gcn import ADDGCNNeck
        >>> neck = ADDGCNNeck(in_channels=16, num_classes=3, embed_dims=8)
        >>> activation, label_embeds = neck((torch.rand(2, 16, 7, 7),))
        >>> activation.shape, label_embeds.shape
        (torch.Size([2, 3]), torch.Size([2, 3, 8]))
    """

    by_class = {'static_graph.weight': ()}
    graph_buffers = ('static_graph.weight',)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_dims: int = 1024,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.activation = ClassActivation(in_channels, num_classes)
        self.transform = nn.Conv2d(in_channels, embed_dims, 1)
        self.static_graph = nn.Linear(num_classes, num_classes, bias=False)
        self.static_update = nn.Linear(embed_dims, embed_dims)
        self.dynamic_graph = DynamicGraph(num_classes, embed_dims, embed_dims)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Score and embed each class in each image.

        Args:
            feats (tuple[Tensor]): The last is used: a map (B, K, h, w), or tokens (B, T, K).

        Returns:
            tuple[Tensor]: The largest activation of each class, logits (B, C), and
            ``label_embeds`` (B, C, D), which heads of label embeddings take.

        Raises:
            ValueError: If the channels are others; in training, if there is one image.
        """
        feature_map = self._feature_map(feats)
        activation = self.activation(feature_map).flatten(2)  # (B, C, N)
        cells = self.transform(feature_map).flatten(2)  # (B, D, N)
        content = activation.sigmoid() @ cells.transpose(1, 2)  # (B, C, D)
        nodes = self._spread(content)
        return activation.amax(2), content + self.dynamic_graph(nodes, nodes.mean(1))

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """(B, C, h, w), see ``ClassActivation``; feats as in :meth:`forward`."""
        return self.activation.attention_maps(self._feature_map(feats))

    def _spread(self, content: Tensor) -> Tensor:
        """The nodes H (B, C, D) of the content V (B, C, D)."""
        mixed = self.static_graph(content.transpose(1, 2)).transpose(1, 2)
        return content + F.leaky_relu(self.static_update(F.leaky_relu(mixed, SLOPE)), SLOPE)

    def _feature_map(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last map (B, K, h, w)."""
        return as_feature_map(feats[-1], self)
