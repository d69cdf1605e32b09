"""Parts of a model through torch.compile, which never compile again."""

from collections.abc import Sequence

import torch
from torch import nn


class CompiledForward:
    """A module's forward, compiled for the first inputs that it gets in training.

    Inputs of other shapes, such as those of the last batch, and those of evaluation run as written:
    the graph is made once, whatever comes.

    Args:
        module (nn.Module): Takes tensors, tuples of tensors, and None.
        **options: Of ``torch.compile``.

    Attributes:
        is_called (bool): Whether it has been called for a gradient.
    """

    def __init__(self, module: nn.Module, **options) -> None:
        self.module = module
        self.compiled = torch.compile(module.forward, dynamic=False, **options)
        self.shapes: list | None = None
        self.is_called = False

    def __call__(self, *inputs):
        """The module's outputs."""
        self.is_called |= torch.is_grad_enabled()
        if not self.module.training or not torch.is_grad_enabled():
            return self.module.forward(*inputs)
        shapes = _shapes(inputs)
        if self.shapes is None:
            self.shapes = shapes
        return self.compiled(*inputs) if shapes == self.shapes else self.module.forward(*inputs)


def compile_parts(model: nn.Module, names: Sequence[str], **options) -> None:
    """Compile submodules of a model for training; changes it, but not its state dict.

    A copy of the model (an average of its weights, say) is not compiled.

    Args:
        model (nn.Module): Without a wrapper.
        names (Sequence[str]): Such as ``('backbone', 'neck')``; a part that is None is left out.
        **options: Of ``torch.compile``.

    Raises:
        ValueError: If the model has no such part.
    """
    for name in names:
        if not hasattr(model, name):
            raise ValueError(
                f'compiled_parts names {name!r}, and {type(model).__name__} has no such part'
            )
        part = getattr(model, name)
        if part is not None:
            # where nn.Module.compile puts what runs instead of forward; no copy or file holds it
            part._compiled_call_impl = CompiledForward(part, **options)


def _shape(tensor: torch.Tensor | None) -> tuple | None:
    return None if tensor is None else (tensor.shape, tensor.dtype)


def _shapes(inputs: tuple | list) -> list:
    """The shapes of tensors, and of those within tuples; None of None."""
    return [_shapes(each) if isinstance(each, tuple | list) else _shape(each) for each in inputs]
