"""The buffers of a model: as they were before an iteration, and those of rank 0 for all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine import dist
from torch import Tensor, nn

from mlic.models.training_parts import TrainingParts, declared


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


def row_buffers(model: nn.Module) -> dict[str, nn.Module]:
    """The buffers with a row for each image of a process's batch, by name, and whose they are."""
    return {name: module for name, module, _ in declared(model, 'row_buffers')}


def saved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are in a checkpoint, by name."""
    saved = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in saved}


@contextmanager
def buffers_of_rank_0(models: Iterable[nn.Module]) -> Iterator[None]:
    """While this holds, every process has rank 0's saved buffers, as a checkpoint has them.

    That is batch norm's running statistics above all: DDP leaves them to each process. Row buffers
    are left out. At the end each process gets its own back. All processes must come here.

    Args:
        models (Iterable[nn.Module]): Models without a wrapper; they may share buffers.
    """
    if dist.get_world_size() == 1:
        yield
        return
    kinds: dict[tuple, dict[int, Tensor]] = {}
    for model in models:
        rows = row_buffers(model)
        for name, buffer in saved_buffers(model).items():
            if name not in rows:
                kinds.setdefault((buffer.device, buffer.dtype), {})[id(buffer)] = buffer
    groups = [list(kind.values()) for kind in kinds.values()]
    own = [joined(group) for group in groups]
    for group, values in zip(groups, own):  # one exchange for each kind
        of_rank_0 = values.clone()
        dist.broadcast(of_rank_0)
        fill(group, of_rank_0)
    try:
        yield
    finally:
        for group, values in zip(groups, own):
            fill(group, values)
