"""Weights of the published code of SADCL and Query2Label, and this project's names for them.

Shapes in this module: C classes, D embed dims, P projection dims, S slots of the memory bank.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlic.engine.checkpoints.published import (
    PublishedSystem,
    bare_names,
    count_layers,
    register_published,
    resnet_of,
)
from mlic.engine.checkpoints.renaming import NameTable, listed
from mlic.names import counted
from projects.sadcl.models.sadcl_head import SADCLHead
from projects.sadcl.models.sarl_neck import SARLNeck

# (published, ours)
PAIRS = (
    ('backbone.0.body.{resnet}', 'backbone.{resnet}'),
    ('backbone.0.{resnet}', 'backbone.{resnet}'),
    ('input_proj.{affine}', 'neck.input_proj.{affine}'),
    ('transformer.encoder.layers.{n}.self_attn.{attention}', 'neck.encoder.{n}.attn.{attention}'),
    ('transformer.encoder.layers.{n}.norm1.{affine}', 'neck.encoder.{n}.attn_norm.{affine}'),
    ('transformer.encoder.layers.{n}.linear1.{affine}', 'neck.encoder.{n}.ffn.0.{affine}'),
    ('transformer.encoder.layers.{n}.linear2.{affine}', 'neck.encoder.{n}.ffn.3.{affine}'),
    ('transformer.encoder.layers.{n}.norm2.{affine}', 'neck.encoder.{n}.ffn_norm.{affine}'),
    (
        'transformer.decoder.layers.{n}.multihead_attn.{attention}',
        'neck.decoder.{n}.attn.{attention}',
    ),
    ('transformer.decoder.layers.{n}.norm2.{affine}', 'neck.decoder.{n}.attn_norm.{affine}'),
    ('transformer.decoder.layers.{n}.linear1.{affine}', 'neck.decoder.{n}.ffn.0.{affine}'),
    ('transformer.decoder.layers.{n}.linear2.{affine}', 'neck.decoder.{n}.ffn.3.{affine}'),
    ('transformer.decoder.layers.{n}.norm3.{affine}', 'neck.decoder.{n}.ffn_norm.{affine}'),
    ('transformer.decoder.norm.{affine}', 'neck.decoder_norm.{affine}'),
    ('query_embed.weight', 'neck.query_embed.weight'),
    ('fc.W', 'head.fc.weight'),
    ('fc.b', 'head.fc.bias'),
    ('proj_head.layers.0.{affine}', 'head.projector.0.{affine}'),
    ('proj_head.layers.1.{affine}', 'head.projector.2.{affine}'),
    ('prototype', 'head.prototypes'),
    ('memorybank', 'head.memory_bank'),
)
# (1, C, …) in the published code, (C, …) here, and its number of dimensions there
EXPANDED = {'head.fc.weight': 3, 'head.fc.bias': 2, 'head.prototypes': 3}
# Computed, or without a use in a frozen batch norm: the published model has none of the second
NAMES = NameTable(PAIRS, dropped=('.pe', '.num_batches_tracked'))
# Names of the other transformer in the published code, which keeps content and position apart
NEW_ATTENTION = re.compile(r'\.(sa|ca)_(q|k)(content|pos)_proj\.|\.(sa|ca)_v_proj\.')


def convert_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names to those of an ``ImageClassifier`` with SARLNeck and SADCLHead.

    Args:
        state_dict (dict): Any subset of the published entries, with or without ``module.``.
            The position encoding (``*.pe``) and batch counters are dropped.

    Returns:
        dict: The same tensors under ``backbone.``, ``neck.`` and ``head.``; ``fc.W``, ``fc.b``
        and ``prototype`` without their leading dimension of 1.

    Raises:
        ValueError: Naming the keys that are unknown or stand twice, or a wrong shape.
    """
    bare = bare_names(state_dict)
    new_attention = [name for name in bare if NEW_ATTENTION.search(name)]
    if new_attention:
        raise ValueError(
            'the "newattention" variant of the published transformer is not supported (its '
            f'released log and checkpoints are of the other one): {listed(new_attention)}'
        )
    converted = NAMES.rename(bare)
    for name, dims in EXPANDED.items():
        if name in converted:
            shape = tuple(converted[name].shape)
            if len(shape) != dims or shape[0] != 1:
                expected = '(1, C, D)' if dims == 3 else '(1, C)'
                raise ValueError(f'{NAMES.theirs(name)} must be {expected}, got {shape}')
            converted[name] = converted[name][0]
    return converted


def revert_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of :func:`convert_state_dict`: the same tensors under the published names.

    Args:
        state_dict (dict): Any subset of the entries of an ``ImageClassifier`` with ResNet,
            SARLNeck and SADCLHead. Batch counters are dropped: the published model has none.

    Returns:
        dict: Names without ``module.``, the backbone's under ``backbone.0.body.``.

    Raises:
        ValueError: Naming the keys that have no published name.
    """
    reverted = NAMES.rename(state_dict, back=True)
    for name in map(NAMES.theirs, EXPANDED):
        if name in reverted:
            reverted[name] = reverted[name][None]
    return reverted


def check_complete(state_dict: Mapping[str, Tensor], published: bool = False) -> str:
    """Compare with the model that the entries' own sizes call for.

    Backbone, neck and linear layer must be there; projector, prototypes and bank all or none
    (Query2Label and SARL have none).

    Args:
        state_dict (dict): Under this project's names.
        published (bool): Report published names. Defaults to False.

    Returns:
        str: One line that describes the model.

    Raises:
        ValueError: Listing missing and unknown keys, or else wrong shapes.
    """
    parts, description = _matching_parts(state_dict)
    kind = f'SADCL or Query2Label checkpoint ({description})'
    NAMES.compare(state_dict, parts.state_dict(), kind, NAMES.theirs if published else str)
    return description


def _matching_parts(state_dict: Mapping[str, Tensor]) -> tuple[nn.ModuleDict, str]:
    """Backbone, neck and head of the entries' sizes, and their description."""

    def size(name: str, dim: int, default: int) -> int:
        value = state_dict.get(name)  # what is missing is reported by name
        return default if value is None or value.dim() <= dim else value.shape[dim]

    num_classes = size('neck.query_embed.weight', 0, 80)
    width = size('neck.query_embed.weight', 1, 2048)
    encoder = count_layers(state_dict, 'neck.encoder.')
    decoder = max(count_layers(state_dict, 'neck.decoder.'), 1)
    backbone = resnet_of(state_dict)
    channels = backbone.feat_dim
    contrastive = ('head.projector.', 'head.prototypes', 'head.memory_bank')
    losses, about = dict(loss_sscl=None, loss_pscl=None), 'no contrastive part'
    if any(name.startswith(contrastive) for name in state_dict):
        slots, proj_channels = (
            size('head.memory_bank', 0, 32),
            size('head.projector.2.weight', 0, 1024),
        )
        losses = dict(bank_slots=slots, proj_channels=proj_channels)
        about = f'contrastive part with a memory bank of {slots} slots'
    with torch.device('meta'):
        neck = SARLNeck(
            channels,
            num_classes,
            embed_dims=width,
            num_heads=1,
            feedforward_channels=size('neck.decoder.0.ffn.0.weight', 0, 8192),
            num_encoder_layers=encoder,
            num_decoder_layers=decoder,
        )
        head = SADCLHead(num_classes, width, **losses)
    parts = nn.ModuleDict(dict(backbone=backbone, neck=neck, head=head))
    return parts, (
        f'ResNet-{backbone.depth}, {encoder} encoder and {decoder} decoder layers, width {width}, '
        f'{counted(num_classes, "class")}, {about}'
    )


register_published(
    PublishedSystem(
        'SADCL or Query2Label',
        convert_state_dict,
        check_complete,
        lambda weights: _matching_parts(weights)[0],
        revert_state_dict,
    )
)
