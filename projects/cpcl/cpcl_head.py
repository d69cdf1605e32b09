"""CPCL: how well a class's prototype can be put into an image's embedding, and taken out of it.

Shapes in this module: B images, C classes, K input channels, E width of a word vector, D embed
dims.
"""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.heads.label_vector_head import LabelVectorHead
from mlic.models.layers.graph_convolution import GraphConvolution, convolve
from mlic.models.layers.label_graph import LabelGraph
from mlic.models.losses.known_labels import loss_of_known


@MODELS.register_module()
class CPCLHead(LabelVectorHead):
    r"""Head of CPCL (Zhou et al., *Multi-Label Image Classification via Category Prototype
    Compositional Learning*, IEEE TCSVT 2022).

    With f the largest value of each channel of the feature map, z a class's vector, p its
    prototype, which two graph convolutions make of all vectors, and two linear layers L from 2 D to
    D, the logit is the difference of two distances

    .. math::
        e = W \tanh(W_f f \odot W_z z) + b, \quad
        s = \lVert e - L_{dec}[e \odot p; p] \rVert - \lVert e - L_{cou}[e \odot p; p] \rVert

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        hidden_channels (int): Width between the graph convolutions. Defaults to 512.
        embed_dims (int): D. Defaults to 1024.
        graph (dict, optional): Arguments of ``LabelGraph``. Defaults to None: ML-GCN's, of kind
            'reweighted'.
        loss_triplet (dict, optional): Second loss of logits and a multi-hot target. Defaults to
            None: ``MarginLoss`` with its margin of 2.0.
        **kwargs: More of ``LabelVectorHead``; the paper's ``vectors`` are GloVe's.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.cpcl import CPCLHead
        >>> head = CPCLHead(num_classes=3, in_channels=16, hidden_channels=8, embed_dims=8)
        >>> feats = (torch.rand(2, 16, 7, 7),)
        >>> head(feats).shape
        torch.Size([2, 3])
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
        >>> list(head.loss(feats, samples))
        ['loss_cls', 'loss_triplet']
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: int = 512,
        embed_dims: int = 1024,
        graph: dict | None = None,
        loss_triplet: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        self.graph = LabelGraph(num_classes, **{'kind': 'reweighted', **(graph or {})})
        dims = self.vectors.vectors.shape[1]
        self.gc1 = GraphConvolution(dims, hidden_channels)
        self.gc2 = GraphConvolution(hidden_channels, embed_dims)
        self.feature = nn.Linear(in_channels, embed_dims, bias=False)  # W_f
        self.label = nn.Linear(dims, embed_dims, bias=False)  # W_z
        self.joint = nn.Linear(embed_dims, embed_dims)  # W, b
        self.decoupling = nn.Linear(2 * embed_dims, embed_dims)
        self.coupling = nn.Linear(2 * embed_dims, embed_dims)
        self.loss_triplet = MODELS.build(loss_triplet or dict(type='MarginLoss'))

    def class_part(self) -> Tensor:
        """Prototypes and projected vectors, (2, C, D)."""
        vectors = self.vectors()
        prototypes = convolve(vectors, self.graph(), self.gc1, self.gc2)
        return torch.stack([prototypes, self.label(vectors)])

    def distances(self, pooled: Tensor, class_part: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features (B, K) to the decoupling and the coupling distance, (B, C) each."""
        prototypes, labels = class_part
        joint = self.feature(pooled)[:, None] * labels  # (B, C, D)
        embeds = self.joint(joint.tanh())
        product, found = embeds * prototypes, []
        for layer in (self.decoupling, self.coupling):
            of_product, of_prototype = layer.weight.chunk(2, dim=1)
            fixed = F.linear(prototypes, of_prototype, layer.bias)  # (C, D)
            composed = F.linear(product, of_product) + fixed
            found.append(torch.linalg.vector_norm(embeds - composed, dim=2))
        return tuple(found)

    def score(self, pooled: Tensor, class_part: Tensor) -> Tensor:
        """Pooled features (B, K) to logits (B, C)."""
        decoupling, coupling = self.distances(pooled, class_part)
        return decoupling - coupling

    def other_losses(self, cls_score: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``loss_triplet``, of the known labels."""
        return dict(loss_triplet=loss_of_known(self.loss_triplet, cls_score, target))
