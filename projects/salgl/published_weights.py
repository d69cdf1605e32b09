"""Checkpoints of SALGL's released code."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import ENCODER_LAYER, NameTable
from mlic.models.heads.label_embed_head import LabelEmbedHead

from .salgl_neck import SALGLNeck

NAMES = NameTable(
    (
        ('backbone.{resnet}', 'backbone.{resnet}'),
        ('embeddings', 'neck.vectors.vectors'),
        ('comatrix', 'neck.graph.counts'),
        ('scene_linear.weight', 'neck.scene.weight'),
        *((f'tb.layers.0.{theirs}', f'neck.encoder.{ours}') for theirs, ours in ENCODER_LAYER),
        ('attention.linear1.{affine}', 'neck.attention.cell.{affine}'),
        ('attention.linear2.{affine}', 'neck.attention.label.{affine}'),
        ('attention.hidden_linear.{affine}', 'neck.attention.hidden.{affine}'),
        ('attention.target_linear.{affine}', 'neck.attention.score.{affine}'),
        *(
            (f'ggnn.fc{number}_{kind}.{{affine}}', f'neck.gated_graph.{gate}_{kind}.{{affine}}')
            for number, gate in enumerate(('update', 'reset', 'new'), 1)
            for kind in 'wu'
        ),
        ('fc.0.{affine}', 'neck.output.{affine}'),
        ('classifier.{affine}', 'head.fc.{affine}'),
    ),
    dropped=('.num_batches_tracked',),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet, neck and head of the weights' sizes; the published number of heads."""
    num_classes, embed_dims = weights['head.fc.weight'].shape
    hidden_channels, in_channels = weights['neck.attention.cell.weight'].shape
    neck = SALGLNeck(
        in_channels,
        num_classes,
        embed_dims,
        feedforward_channels=len(weights['neck.encoder.ffn.0.weight']),
        hidden_channels=hidden_channels,
        both_ways=weights['neck.gated_graph.update_w.weight'].shape[1] > in_channels,
        vectors=dict(dims=weights['neck.vectors.vectors'].shape[1]),
        graph=dict(num_scenes=len(weights['neck.graph.counts'])),
    )
    head = LabelEmbedHead(num_classes, embed_dims)
    return nn.ModuleDict(dict(backbone=resnet_of(weights), neck=neck, head=head))


SALGL = by_table('SALGL', NAMES, model_of, alphabetical=False)
