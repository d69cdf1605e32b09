"""Targets: which classes an image has, and what the host knows of them without asking the device.

An entry of a target is 1 (present), 0 (absent), something between (Mixup, CutMix, smoothed labels)
or NaN: *unknown*, nobody looked. NaN is not a value that a loss could take for a label by accident,
and it stays: of a blend, an entry is known only if it is known in both parts. An entry is unknown
if the meta key ``gt_label_unknown`` of its data sample names the class, whatever else the sample
says of it.

Shapes in this module: B images, C classes, K positive (image, class) pairs of the batch.
"""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample, label_to_onehot
from torch import Tensor

from mlic.dtypes import raised


def is_present(target: Tensor) -> Tensor:
    """Which classes are in which image, bool: those with a target of at least one half.

    Of two images that Mixup or CutMix blends, the classes of the larger part are present (of
    equal parts, those of both), and smoothed labels stay what they were.

    Args:
        target (Tensor): Of any shape, multi-hot or between 0 and 1; NaN where it is unknown.
    """
    return target >= 0.5


def is_absent(target: Tensor) -> Tensor:
    """Which classes are not: neither present nor unknown."""
    return target < 0.5


def any_unknown(target: Tensor) -> bool:
    """Whether an entry is unknown; the host waits for the device if it has no copy."""
    host = host_copy(target)
    return host.is_floating_point() and bool(host.isnan().any())


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


def fill_unknown(target: Tensor, samples: Sequence[DataSample], value: float) -> Tensor:
    """The target (B, C) with one value in all entries that the data samples call unknown.

    Without any it is the target itself, else a copy, in float32 if it has integers and gets NaN.
    """
    entries = [
        (row, label)
        for row, sample in enumerate(samples)
        for label in sample.get('gt_label_unknown', ())
    ]
    if not entries:
        return target
    needs_float = value != value and not target.is_floating_point()
    target = target.float() if needs_float else target.clone()
    row, label = torch.tensor(entries).unbind(1)  # on the host, as the target of a training is
    target[row, label] = value
    return target


def target_of(
    samples: Sequence[DataSample], num_classes: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The target (B, C) of data samples with ``gt_score`` (C,) or else ``gt_label``.

    Args:
        samples (Sequence[DataSample]): B of them. What ``MultiLabelDataPreprocessor`` prepared for
            training is taken as it is, with the host's copy; else ``gt_label_unknown`` counts.
        num_classes (int): C.
        dtype (torch.dtype): Of the result, but float32 for half precision, to which 0.4999 is 0.5.
        device (torch.device): Of the result.

    Raises:
        ValueError: If a sample has neither.
    """
    dtype = raised(dtype)
    if 'gt_score' not in samples[0]:
        bare = [sample for sample in samples if 'gt_label' not in sample]
        if bare:
            raise ValueError(
                f'{bare[0].get("img_path", "an image")}: no labels. The data set has to give each '
                'image a gt_label, the indices of its classes, [] without any'
            )
        rows = [label_to_onehot(sample.gt_label, num_classes) for sample in samples]
    else:
        rows = [sample.gt_score for sample in samples]
    if not all(hasattr(row, 'host_copy') for row in rows):
        return fill_unknown(torch.stack(rows).to(device, dtype), samples, torch.nan)
    target = torch.stack(rows).to(device, dtype)
    return with_host_copy(target, torch.stack([row.host_copy for row in rows]).to(dtype))


def positive_pairs(target: Tensor) -> tuple[Tensor, Tensor]:
    """Image and class of each positive label, (K,) and (K,), by image.

    Made on the host if the target has a copy there; else the host waits for the device.

    Args:
        target (Tensor): (B, C), multi-hot or between 0 and 1; NaN where it is unknown.
    """
    pairs = is_present(host_copy(target)).nonzero()  # (K, 2)
    image, label = to_device(pairs.T.contiguous(), target.device)
    return image, label
