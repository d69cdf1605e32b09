"""Checkpoints of CPCL's released code. Its word vectors are not in them."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable
from mlic.models.layers.label_graph import with_normalised_graph

from .cpcl_head import CPCLHead

NAMES = NameTable(
    (
        *SEQUENTIAL_RESNET,
        ('gc1.weight', 'head.gc1.weight'),
        ('gc2.weight', 'head.gc2.weight'),
        ('semantic_special.feature_trans.weight', 'head.feature.weight'),
        ('semantic_special.semantic_trans.weight', 'head.label.weight'),
        ('semantic_special.joint_trans.{affine}', 'head.joint.{affine}'),
        # each gives the other's distance there
        ('coupling_network.fc.{affine}', 'head.decoupling.{affine}'),
        ('decoupling_network.fc.{affine}', 'head.coupling.{affine}'),
        ('A', 'head.graph.matrix'),
    ),
    dropped=('.num_batches_tracked',),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes."""
    dims, hidden = weights['head.gc1.weight'].shape
    embed_dims, in_channels = weights['head.feature.weight'].shape
    head = CPCLHead(
        len(weights['head.graph.matrix']),
        in_channels,
        hidden_channels=hidden,
        embed_dims=embed_dims,
        vectors=dict(dims=dims, file='of --vectors'),
    )
    return nn.ModuleDict(dict(backbone=resnet_of(weights), head=head))


CPCL = by_table('CPCL', NAMES, model_of, with_normalised_graph)
