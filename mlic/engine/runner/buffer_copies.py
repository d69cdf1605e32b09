"""The buffers of a model as they were before an iteration."""

import torch
from torch import Tensor, nn

from mlic.models.training_parts import TrainingParts


class BufferCopies:
    """A copy of what an iteration may change, and the way back, for which nobody waits.

    Copied are the buffers of modules in training mode (frozen batch norm is not), without those
    that a module takes back itself (``TrainingParts.takes_back``) and its ``constant_buffers``.

    Args:
        model (nn.Module): Without a wrapper. Its modules are looked up here, once: a walk
            through all of them in each iteration is time of the host.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        modules = list(model.modules())
        self.with_buffers = [module for module in modules if module._buffers]
        self.parts = [module for module in modules if isinstance(module, TrainingParts)]
        self.kept: list[tuple[list[tuple[nn.Module, str]], Tensor]] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the buffers; those of one kind in one piece."""
        kinds = {}
        for module in self.with_buffers:
            if not module.training:
                continue
            left_out = ()
            if isinstance(module, TrainingParts):
                left_out = *module.takes_back, *module.constant_buffers
            for name, buffer in module.named_buffers(recurse=False):
                if name not in left_out:
                    kind = buffer.device, buffer.dtype
                    kinds.setdefault(kind, []).append((module, name))
        self.kept = [(places, joined(_buffers(places))) for places in kinds.values()]

    @torch.no_grad()
    def take_back(self, where: Tensor) -> None:
        """Restore the buffers if ``where``, a bool on the device (), is True."""
        for places, kept in self.kept:
            buffers = _buffers(places)
            fill(buffers, torch.where(where, kept, joined(buffers)))
        for module in self.parts:
            if module.takes_back:
                module.take_back(where)


def _buffers(places: list[tuple[nn.Module, str]]) -> list[Tensor]:
    """The buffers that now have these names."""
    return [module.get_buffer(name) for module, name in places]


def joined(buffers: list[Tensor]) -> Tensor:
    """All values of some buffers, one after the other."""
    return torch.cat([buffer.flatten() for buffer in buffers])


@torch.no_grad()
def fill(buffers: list[Tensor], values: Tensor) -> None:
    """Fill the buffers with values that lie one after the other."""
    parts = values.split([buffer.numel() for buffer in buffers])
    torch._foreach_copy_(buffers, [part.view_as(x) for part, x in zip(parts, buffers)])
