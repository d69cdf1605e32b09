"""Checkpoints of SSGRL's released code. Its word vectors and its graph are files next to them."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import NameTable
from mlic.models.heads.label_embed_head import LabelEmbedHead

from .ssgrl_neck import SSGRLNeck

LAYERS = {
    'word_semantic.fc_1': 'neck.attention.cell',
    'word_semantic.fc_2': 'neck.attention.label',
    'word_semantic.fc_3': 'neck.attention.hidden',
    'word_semantic.fc_a': 'neck.attention.score',
    'graph_net.fc_eq3_w': 'neck.gated_graph.update_w',
    'graph_net.fc_eq3_u': 'neck.gated_graph.update_u',
    'graph_net.fc_eq4_w': 'neck.gated_graph.reset_w',
    'graph_net.fc_eq5_w': 'neck.gated_graph.new_w',
    'graph_net.fc_eq5_u': 'neck.gated_graph.new_u',
    'fc_output': 'neck.output',
    'classifiers': 'head.fc',
}
NAMES = NameTable(
    (
        ('resnet_101.{resnet}', 'backbone.{resnet}'),
        *((f'{theirs}.{{affine}}', f'{ours}.{{affine}}') for theirs, ours in LAYERS.items()),
    ),
    # the second is never used there, see shared_gate
    dropped=('.num_batches_tracked', 'fc_eq4_u.weight', 'fc_eq4_u.bias'),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet, neck and head of the weights' sizes."""
    num_classes, embed_dims = weights['head.fc.weight'].shape
    hidden_channels, in_channels = weights['neck.attention.cell.weight'].shape
    neck = SSGRLNeck(
        in_channels,
        num_classes,
        embed_dims,
        hidden_channels=hidden_channels,
        shared_gate=True,
        vectors=dict(dims=weights['neck.attention.label.weight'].shape[1], file='of --vectors'),
    )
    head = LabelEmbedHead(num_classes, embed_dims)
    return nn.ModuleDict(dict(backbone=resnet_of(weights), neck=neck, head=head))


SSGRL = by_table('SSGRL', NAMES, model_of, alphabetical=False)
