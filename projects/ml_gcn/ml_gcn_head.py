"""ML-GCN: classifiers that a graph network makes of the classes' word vectors.

Shapes in this module: B images, C classes, K input channels, E width of a word vector.
"""

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.graph_convolution import GraphConvolution
from mlic.models.layers.label_graph import LabelGraph
from mlic.models.layers.label_vectors import LabelVectors
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class MLGCNHead(TrainingParts, MultiLabelClsHead):
    r"""Head of ML-GCN (Chen et al., *Multi-Label Image Recognition with Graph Convolutional
    Networks*, CVPR 2019).

    With f the largest value of each channel of the feature map, Z the classes' vectors and G the
    graph, the logits are

    .. math::
        s = W f, \quad W = G\, \mathrm{LeakyReLU}_{0.2}(G Z \Theta_1)\, \Theta_2

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        hidden_channels (int): Width of the first layer. Defaults to 1024.
        vectors (dict, optional): Arguments of ``LabelVectors``. Defaults to None: 300 numbers
            a class, learned; the paper has GloVe's.
        graph (dict, optional): Arguments of ``LabelGraph``. Defaults to None: the paper's, of kind
            'reweighted'.
        pool_size (int, optional): Look at the first so many rows and columns of the map only. The
            released code does so with 14, which is the whole map at 448 px and its upper left part
            at 576. Defaults to None: the whole map.
        loss (dict, optional): Loss of logits and a multi-hot target. Defaults to None: binary
            cross-entropy, averaged over images and classes.
        thr (float, optional): ``pred_label`` has the classes with at least this score.
            Defaults to None: 0.5, unless ``topk`` is set.
        topk (int, optional): ``pred_label`` has this many classes, if ``thr`` is not set.
            Defaults to None.
        init_cfg (dict, optional): mmengine's. Defaults to None.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: int = 1024,
        vectors: dict | None = None,
        graph: dict | None = None,
        pool_size: int | None = None,
        loss: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        loss = loss or dict(type='MultiLabelSoftMarginLoss')
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.pool_size = pool_size
        self.vectors = LabelVectors(num_classes, **(vectors or {}))
        self.graph = LabelGraph(num_classes, **{'kind': 'reweighted', **(graph or {})})
        dims = self.vectors.vectors.shape[1]
        self.gc1 = GraphConvolution(dims, hidden_channels)
        self.gc2 = GraphConvolution(hidden_channels, in_channels)

    def classifiers(self) -> Tensor:
        """W (C, K): the same for all images, made once a batch."""
        graph = self.graph()
        hidden = F.leaky_relu(self.gc1(self.vectors(), graph), 0.2)
        return self.gc2(hidden, graph)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last feature map, (B, K, h, w) or tokens (B, T, K), to logits (B, C).

        Raises:
            ValueError: If the map has other channels.
        """
        owner = f'MLGCNHead(in_channels={self.in_channels})'
        feature_map = as_feature_map(
            self.pre_logits(feats), self.in_channels, owner, 'head.in_channels'
        )
        size = self.pool_size
        if size is not None:
            feature_map = feature_map[..., :size, :size]
        pooled = feature_map.amax((2, 3))
        with torch.autocast(pooled.device.type, enabled=False):  # logits are of the weight's dtype
            weight = self.classifiers()
            return pooled.to(weight.dtype) @ weight.T

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls`` of B samples with ``gt_score`` (C,) or ``gt_label``.

        Soft targets, as Mixup and CutMix make them, go to ``loss`` as they are.
        """
        return dict(loss_cls=self._get_loss(self(feats), data_samples)['loss'])
