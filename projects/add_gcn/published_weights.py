"""Checkpoints of ADD-GCN's released code."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import as_linear, by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable

from .add_gcn_head import ADDGCNHead
from .add_gcn_neck import ADDGCNNeck

NAMES = NameTable(
    (
        *SEQUENTIAL_RESNET,
        ('fc.weight', 'neck.activation.weight'),
        ('conv_transform.{affine}', 'neck.transform.{affine}'),
        ('gcn.static_adj.0.weight', 'neck.static_graph.weight'),
        ('gcn.static_weight.0.{affine}', 'neck.static_update.{affine}'),
        ('gcn.conv_global.{affine}', 'neck.dynamic_graph.context.{affine}'),
        ('gcn.bn_global.{norm}', 'neck.dynamic_graph.context_norm.{norm}'),
        ('gcn.conv_create_co_mat.{affine}', 'neck.dynamic_graph.correlation.{affine}'),
        ('gcn.dynamic_weight.{affine}', 'neck.dynamic_graph.update.{affine}'),
        ('last_linear.{affine}', 'head.fc.{affine}'),
    ),
    dropped=('.num_batches_tracked',),
    unused=('mask_mat',),  # the identity
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet, neck and head of the weights' sizes."""
    num_classes, in_channels = weights['neck.activation.weight'].shape[:2]
    embed_dims = len(weights['neck.transform.weight'])
    neck = ADDGCNNeck(in_channels, num_classes, embed_dims)
    head = ADDGCNHead(num_classes, embed_dims)
    return nn.ModuleDict(dict(backbone=resnet_of(weights), neck=neck, head=head))


ADD_GCN = by_table('ADD-GCN', NAMES, model_of, as_linear)
