"""Weights of the published code of SADCL and Query2Label, and this project's names for them.

Shapes in this module: C classes, D embed dims, P projection dims, S slots of the memory bank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from mmpretrain.models.backbones import ResNet
from torch import Tensor, nn

from projects.sadcl.models.sadcl_head import SADCLHead
from projects.sadcl.models.sarl_neck import SARLNeck

# What stands in braces below: a layer's number, and how the names of an entry may go on
PLACEHOLDERS = dict(
    n=r'\d+',
    affine='weight|bias',
    attention=r'in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias',
    resnet=(
        r'(?:conv1|bn1|layer[1-4]\.\d+\.(?:conv[1-3]|bn[1-3]|downsample\.[01]))'
        r'\.(?:weight|bias|running_mean|running_var)'
    ),
)
# (published, ours); the first that fits is taken, in both directions
NAMES = (
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
DROPPED = ('.pe', '.num_batches_tracked')
# Names of the other transformer in the published code, which keeps content and position apart
NEW_ATTENTION = re.compile(r'\.(sa|ca)_(q|k)(content|pos)_proj\.|\.(sa|ca)_v_proj\.')

# The published choice of 20 of COCO's 80 classes for VOC's, in VOC's order
VOC_ROWS = (4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62)

RESNET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


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
    bare = {re.sub(r'^(module\.)+', '', name): value for name, value in state_dict.items()}
    new_attention = [name for name in bare if NEW_ATTENTION.search(name)]
    if new_attention:
        raise ValueError(
            'the "newattention" variant of the published transformer is not supported (its '
            f'released log and checkpoints are of the other one): {_listed(new_attention)}'
        )
    converted = _rename_all(bare, to_published=False)
    for name, dims in EXPANDED.items():
        if name in converted:
            shape = tuple(converted[name].shape)
            if len(shape) != dims or shape[0] != 1:
                expected = '(1, C, D)' if dims == 3 else '(1, C)'
                raise ValueError(f'{published_name(name)} must be {expected}, got {shape}')
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
    reverted = _rename_all(state_dict, to_published=True)
    for name in map(published_name, EXPANDED):
        if name in reverted:
            reverted[name] = reverted[name][None]
    return reverted


def pick_voc_classes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A converted COCO checkpoint as the start of VOC: VOC's 20 rows of queries and scores.

    Prototypes and memory bank are left out: they are made anew from VOC's images.

    Raises:
        ValueError: If the checkpoint has not COCO's 80 classes.
    """
    picked = {
        name: value
        for name, value in state_dict.items()
        if name not in ('head.prototypes', 'head.memory_bank')
    }
    for name in ('neck.query_embed.weight', 'head.fc.weight', 'head.fc.bias'):
        if len(picked[name]) != 80:
            raise ValueError(f"{name} must have COCO's 80 rows, got {len(picked[name])}")
        picked[name] = picked[name][list(VOC_ROWS)]
    return picked


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
    rename = published_name if published else str
    expected = {
        name: value.shape for name, value in parts.state_dict().items() if not _is_dropped(name)
    }
    have = {name: value.shape for name, value in state_dict.items() if not _is_dropped(name)}
    missing = [rename(name) for name in expected if name not in have]
    unknown = [rename(name) for name in have if name not in expected]
    if missing or unknown:
        lists = dict(missing=missing, unknown=unknown)
        raise ValueError(
            f'not a complete SADCL or Query2Label checkpoint ({description}); '
            + '; '.join(f'{kind}: {_listed(names, 1000)}' for kind, names in lists.items() if names)
        )
    wrong = [
        f'{rename(name)} {tuple(shape)} instead of {tuple(expected[name])}'
        for name, shape in have.items()
        if shape != expected[name]
    ]
    if wrong:
        raise ValueError(f'shapes do not fit together ({description}): {_listed(wrong)}')
    return description


def published_name(name: str) -> str:
    """The published code's name of an entry of ours; the name itself if it has none."""
    return _rename(name, to_published=True) or name


def our_name(name: str) -> str:
    """Our name of an entry of the published code; the name itself if it has none."""
    return _rename(name, to_published=False) or name


def _rename_all(state_dict: Mapping[str, Tensor], to_published: bool) -> dict[str, Tensor]:
    """Rename every entry, once, and drop what has no use on the other side."""
    names = {name: _rename(name, to_published) for name in state_dict if not _is_dropped(name)}
    unknown = [name for name, renamed in names.items() if renamed is None]
    if unknown:
        raise ValueError(f'{len(unknown)} unknown keys: {_listed(unknown)}')
    renamed = {new: state_dict[old] for old, new in names.items()}
    if len(renamed) < len(names):
        seen = list(names.values())
        twice = [old for old, new in names.items() if seen.count(new) > 1]
        raise ValueError(f'keys that stand for the same entry: {_listed(twice)}')
    return renamed


def _rename(name: str, to_published: bool) -> str | None:
    """The other side's name of an entry, or None."""
    for pair in NAMES:
        ours_or_theirs, other = reversed(pair) if to_published else pair
        groups = {key: f'(?P<{key}>{value})' for key, value in PLACEHOLDERS.items()}
        match = re.fullmatch(ours_or_theirs.replace('.', r'\.').format(**groups), name)
        if match:
            return other.format(**match.groupdict())
    return None


def _is_dropped(name: str) -> bool:
    """Whether the entry has no counterpart on the other side."""
    return name.endswith(DROPPED)


def _listed(names: list[str], most: int = 10) -> str:
    """The first names, and how many more there are."""
    more = f', … ({len(names)} in all)' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _matching_parts(state_dict: Mapping[str, Tensor]) -> tuple[nn.ModuleDict, str]:
    """Backbone, neck and head of the entries' sizes, and their description."""

    def size(name: str, dim: int, default: int) -> int:
        value = state_dict.get(name)  # what is missing is reported by name
        return default if value is None or value.dim() <= dim else value.shape[dim]

    def count(prefix: str) -> int:
        numbers = (re.match(rf'{re.escape(prefix)}(\d+)\.', name) for name in state_dict)
        return max((int(number[1]) + 1 for number in numbers if number), default=0)

    num_classes = size('neck.query_embed.weight', 0, 80)
    width = size('neck.query_embed.weight', 1, 2048)
    layers = dict(
        num_encoder_layers=count('neck.encoder.'),
        num_decoder_layers=max(count('neck.decoder.'), 1),
    )
    depth, channels = _resnet_depth(
        tuple(count(f'backbone.layer{stage}.') for stage in range(1, 5)),
        is_bottleneck=(
            'backbone.layer1.0.conv3.weight' in state_dict
            or 'backbone.layer1.0.conv2.weight' not in state_dict
        ),
    )
    contrastive = ('head.projector.', 'head.prototypes', 'head.memory_bank')
    losses, about = dict(loss_sscl=None, loss_pscl=None), 'no contrastive part'
    if any(name.startswith(contrastive) for name in state_dict):
        losses, slots = {}, size('head.memory_bank', 0, 32)
        losses['bank_slots'] = slots
        losses['proj_channels'] = size('head.projector.2.weight', 0, 1024)
        about = f'contrastive part with a memory bank of {slots} slots'
    with torch.device('meta'):
        neck = SARLNeck(
            channels,
            num_classes,
            embed_dims=width,
            num_heads=1,
            feedforward_channels=size('neck.decoder.0.ffn.0.weight', 0, 8192),
            **layers,
        )
        head = SADCLHead(num_classes, width, **losses)
    # mmpretrain's ResNet cannot be built on the meta device
    parts = nn.ModuleDict(dict(backbone=ResNet(depth), neck=neck, head=head))
    encoder, decoder = layers.values()
    return parts, (
        f'ResNet-{depth}, {encoder} encoder and {decoder} decoder layers, width {width}, '
        f'{num_classes} classes, {about}'
    )


def _resnet_depth(blocks: tuple[int, ...], is_bottleneck: bool) -> tuple[int, int]:
    """Depth of the smallest ResNet that has these blocks (the largest if none has), channels."""
    depths = [depth for depth in RESNET_BLOCKS if (depth >= 50) == is_bottleneck]
    fitting = [
        depth
        for depth in depths
        if all(have <= of for have, of in zip(blocks, RESNET_BLOCKS[depth]))
    ]
    return (fitting or depths[-1:])[0], 2048 if is_bottleneck else 512
