"""Buffers in which the processes differ: which ones, and rank 0's for all while something reads."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mmengine import dist
from torch import Tensor, nn

from mlic.models.training_parts import parts_of

from .buffer_copies import fill, joined


def row_buffers(model: nn.Module) -> dict[str, nn.Module]:
    """The buffers with a row for each image of a process's batch, by name, and whose they are."""
    return {
        f'{module_name}.{name}'.lstrip('.'): module
        for module_name, module in parts_of(model)
        for name in module.row_buffers
    }


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
