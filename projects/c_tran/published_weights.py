"""Checkpoints of C-Tran's released code."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints import published
from mlic.engine.checkpoints.renaming import ENCODER_LAYER, NameTable

from .c_tran_head import CTranHead

STATES = 'unknown_state', 'known_states'
LAYER = 'self_attn_layers.{n}.transformer_layer.', 'head.layers.{n}.'
NAMES = NameTable(
    (
        ('backbone.base_network.{resnet}', 'backbone.{resnet}'),
        ('label_lt.weight', 'head.label_embed'),
        *(('known_label_lt.weight', f'head.{x}') for x in ('states', *STATES)),  # in one
        ('output_linear.{affine}', 'head.fc.{affine}'),
        ('LayerNorm.{affine}', 'head.norm.{affine}'),
        *((LAYER[0] + theirs, LAYER[1] + ours) for theirs, ours in ENCODER_LAYER),
    ),
    # the classifier of ImageNet is never called
    dropped=('.num_batches_tracked', 'base_network.fc.weight', 'base_network.fc.bias'),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes; the published number of heads."""
    num_classes, width = weights['head.label_embed'].shape
    head = CTranHead(
        num_classes,
        width,
        num_layers=max(published.count_layers(weights, 'head.layers.'), 1),
        feedforward_channels=len(weights['head.layers.0.ffn.0.weight']),
    )
    return nn.ModuleDict(dict(backbone=published.resnet_of(weights), head=head))


def adjust(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state unknown for itself."""
    states = weights.pop('head.states', None)
    if states is not None:
        weights['head.unknown_state'], weights['head.known_states'] = states[0], states[1:]
    return weights


# the order of their classes is in files of theirs that are not public
C_TRAN = published.by_table('C-Tran', NAMES, model_of, adjust, alphabetical=False)
