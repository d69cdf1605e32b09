"""Checkpoints of the public re-implementation of CCD, of either stage."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable

from .ccd_head import CCDHead

NAMES = NameTable(
    (
        *((x.replace('features', 'backbone.resnet_layer'), ours) for x, ours in SEQUENTIAL_RESNET),
        ('clf.memory', 'head.memory'),
        ('clf.context_clf.weight', 'head.context_fc.weight'),
        ('clf.logit_clf.weight', 'head.logit_fc.weight'),
        ('clf.selector.{affine}', 'head.selector.{affine}'),
        ('clf.selector.layers.0.{affine}', 'head.selector.0.{affine}'),
        ('clf.selector.layers.1.{affine}', 'head.selector.2.{affine}'),
    ),
    dropped=('.num_batches_tracked', '.second_stage'),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes; how many heads it has is not in them."""
    memory = weights['head.memory']
    fusion = 'selector' if 'head.selector.weight' in weights else 'none'
    if 'head.selector.0.weight' in weights:
        wide = weights['head.selector.0.weight'].shape[1] > memory.shape[1]
        fusion = 'concat' if wide else 'mlp'
    return nn.ModuleDict(
        dict(backbone=resnet_of(weights), head=CCDHead(*memory.shape, fusion=fusion))
    )


def adjust(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The stage, which the checkpoint does not say: the memory is zero until the second."""
    if 'head.memory' in weights:
        weights['head.second_stage'] = weights['head.memory'].any()
    return weights


CCD = by_table('CCD', NAMES, model_of, adjust, alphabetical=False)
