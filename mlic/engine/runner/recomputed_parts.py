"""Parts of a model whose activations are computed twice instead of stored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from operator import attrgetter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


class RecomputedCall:
    """A module's call, whose activations are computed twice.

    Attributes:
        is_called (bool): Whether it has been called for a gradient.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.is_called = False

    def __call__(self, *args, **kwargs):
        """The module's outputs."""
        self.is_called |= torch.is_grad_enabled()
        around = partial(_contexts, self.module)
        return checkpoint(
            self.module._call_impl, *args, use_reentrant=False, context_fn=around, **kwargs
        )


def recompute_parts(model: nn.Module, names: Sequence[str] | str) -> None:
    """Gradient checkpointing of submodules: of each, only the inputs wait for the backward pass.

    It replaces mmengine's for the same key of a config. That one is reentrant: a part whose inputs
    need no gradient, such as the first layer with LoRA after a frozen stem, gets none. It takes no
    keyword arguments, and an average of the weights would run the layers of the model. Batch norms
    of such a part count each batch once.

    Args:
        model (nn.Module): Without a wrapper; its state dict stays the same.
        names (Sequence[str] | str): Such as 'backbone.layers': of a list, each of its modules.

    Raises:
        ValueError: If the model has no such part.
    """
    for name in [names] if isinstance(names, str) else names:
        try:
            part = attrgetter(name)(model)
        except AttributeError as error:
            raise ValueError(
                f'activation_checkpointing names {name!r}, and {type(model).__name__} has no such '
                'part'
            ) from error
        for one in part if isinstance(part, nn.ModuleList | nn.Sequential) else [part]:
            # where nn.Module.compile puts what runs in its place; no copy or file holds it
            one._compiled_call_impl = RecomputedCall(one)


def _contexts(part: nn.Module) -> tuple:
    """What surrounds the forward pass, and the second one."""
    return nullcontext(), _statistics_kept(part)


@contextmanager
def _statistics_kept(part: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch and leave their running statistics alone.

    They do take part: what a pass stores for the gradient must be the same in both.
    """
    norms = [
        (norm, norm.momentum, norm.num_batches_tracked.clone())
        for norm in part.modules()
        if isinstance(norm, _NormBase) and norm.training and norm.num_batches_tracked is not None
    ]
    for norm, _, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in norms:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
