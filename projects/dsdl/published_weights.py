"""Checkpoints of DSDL's released code, which are its backbone and two weights."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints.published import by_table, resnet_of
from mlic.engine.checkpoints.renaming import SEQUENTIAL_RESNET, NameTable

from .dsdl_head import DSDLHead

NAMES = NameTable(
    (*SEQUENTIAL_RESNET, ('W1', 'head.w1'), ('W2', 'head.w2')), dropped=('.num_batches_tracked',)
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes; only the vectors know the number of classes."""
    vectors, (dims, hidden) = weights.get('head.vectors.vectors'), weights['head.w1'].shape
    head = DSDLHead(
        1 if vectors is None else len(vectors),
        weights['head.w2'].shape[1],
        hidden_channels=hidden,
        vectors=dict(dims=dims, file='of --vectors'),
    )
    return nn.ModuleDict(dict(backbone=resnet_of(weights), head=head))


DSDL = by_table('DSDL', NAMES, model_of)
