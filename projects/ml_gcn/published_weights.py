"""Checkpoints of ML-GCN's released code. Its word vectors are not in them."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable
from mlic.models.layers.label_graph import with_normalised_graph

from .ml_gcn_head import MLGCNHead

NAMES = NameTable(
    (
        *SEQUENTIAL_RESNET,
        ('gc1.weight', 'head.gc1.weight'),
        ('gc2.weight', 'head.gc2.weight'),
        ('A', 'head.graph.matrix'),
    ),
    dropped=('.num_batches_tracked',),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes."""
    graph, first = weights['head.graph.matrix'], weights['head.gc1.weight']
    head = MLGCNHead(
        len(graph),
        weights['head.gc2.weight'].shape[1],
        hidden_channels=first.shape[1],
        vectors=dict(dims=len(first), file='of --vectors'),
    )
    return nn.ModuleDict(dict(backbone=resnet_of(weights), head=head))


ML_GCN = by_table('ML-GCN', NAMES, model_of, with_normalised_graph)
