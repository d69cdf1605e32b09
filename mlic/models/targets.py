"""Targets: which classes an image has, and what the host knows of them without asking the device.

Shapes in this module: B images, C classes, K positive (image, class) pairs of the batch.
"""

import torch
from torch import Tensor


def is_present(target: Tensor) -> Tensor:
    """Which classes are in which image, bool: those with a target of at least one half.

    Of two images that Mixup or CutMix blends, the classes of the larger part are present (of
    equal parts, those of both), and smoothed labels stay what they were.

    Args:
        target (Tensor): Of any shape, multi-hot or between 0 and 1.
    """
    return target >= 0.5


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting until it is there."""
    if device.type == 'cuda' and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # from other memory CUDA copies only while the host waits
    return tensor.to(device, non_blocking=True)


def with_host_copy(tensor: Tensor, host: Tensor) -> Tensor:
    """The tensor itself, which remembers an equal one of the host."""
    tensor.host_copy = host
    return tensor


def host_copy(tensor: Tensor) -> Tensor:
    """What :func:`with_host_copy` left: an equal tensor of the host; else the tensor itself."""
    return getattr(tensor, 'host_copy', tensor)


def stack_rows(rows: list[Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A target (B, C) of rows (C,), with the host's copy if every row has one."""
    target = torch.stack(rows).to(device, dtype)
    if all(hasattr(row, 'host_copy') for row in rows):
        with_host_copy(target, torch.stack([row.host_copy for row in rows]).to(dtype))
    return target


def positive_pairs(target: Tensor) -> tuple[Tensor, Tensor]:
    """Image and class of each positive label, (K,) and (K,), by image.

    Made on the host if the target has a copy there; else the host waits for the device.

    Args:
        target (Tensor): (B, C), multi-hot or between 0 and 1.
    """
    pairs = is_present(host_copy(target)).nonzero()  # (K, 2)
    image, label = to_device(pairs.T.contiguous(), target.device)
    return image, label
