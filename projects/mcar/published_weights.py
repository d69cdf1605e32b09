"""Checkpoints of MCAR's released code."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable

from .mcar_head import MCARHead

NAMES = NameTable(
    (*SEQUENTIAL_RESNET, ('convclass.{affine}', 'head.fc.{affine}')),
    dropped=('.num_batches_tracked',),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes; how it pools is not in them."""
    head = MCARHead(*weights['head.fc.weight'].shape[:2])
    return nn.ModuleDict(dict(backbone=resnet_of(weights), head=head))


MCAR = by_table('MCAR', NAMES, model_of)
