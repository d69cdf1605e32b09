"""ML-GCN: classifiers that a graph network makes of the classes' word vectors.

Shapes in this module: C classes, K input channels.
"""

from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.models.heads.label_vector_head import LabelVectorHead
from mlic.models.layers.graph_convolution import GraphConvolution, convolve
from mlic.models.layers.label_graph import LabelGraph


@MODELS.register_module()
class MLGCNHead(LabelVectorHead):
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
        graph (dict, optional): Arguments of ``LabelGraph``. Defaults to None: the paper's, of kind
            'reweighted'.
        **kwargs: More of ``LabelVectorHead``; the paper's ``vectors`` are GloVe's.

    Example:
        >>> import torch
        >>> from projects.ml_gcn import MLGCNHead
        >>> head = MLGCNHead(num_classes=3, in_channels=16, vectors=dict(dims=8))
        >>> head((torch.rand(2, 16, 7, 7),)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: int = 1024,
        graph: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        self.graph = LabelGraph(num_classes, **{'kind': 'reweighted', **(graph or {})})
        dims = self.vectors.vectors.shape[1]
        self.gc1 = GraphConvolution(dims, hidden_channels)
        self.gc2 = GraphConvolution(hidden_channels, in_channels)

    def class_part(self) -> Tensor:
        """W (C, K)."""
        return convolve(self.vectors(), self.graph(), self.gc1, self.gc2)
