"""Matrices of scores and labels: making, checking, joining and saving them. N images, C classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log

MAX_NAMES_IN_LOG = 10


class Block(NamedTuple):
    """Scores, truth and ignored entries of some images: (N, C) float, bool, bool or None."""

    pred: np.ndarray
    target: np.ndarray
    ignore: np.ndarray | None


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """A numpy array of tensors on any device; 16-bit floats become float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def stack_samples(data_samples: Sequence[dict], key: str) -> np.ndarray:
    """(N, C) from the (C,) values of the samples, in one transfer."""
    return as_array(torch.stack([torch.as_tensor(sample[key]) for sample in data_samples]))


def multi_hot(labels: list, num_classes: int) -> np.ndarray:
    """(N, C) bool from the class indices of each image."""
    hot = np.zeros((len(labels), num_classes), dtype=bool)
    for row, indices in enumerate(labels):
        indices = as_array(indices).astype(np.int64)
        if np.any((indices < 0) | (indices >= num_classes)):
            raise ValueError(f'labels {indices.tolist()} are not all within 0..{num_classes - 1}')
        hot[row, indices] = True
    return hot


def binary(target: np.ndarray) -> np.ndarray:
    """Labels as bool; ValueError unless they are 0 and 1."""
    positive = target == 1
    wrong = ~positive & (target != 0)
    if wrong.any():
        raise ValueError(
            f'{np.count_nonzero(wrong)} of {target.size} labels are neither 0 nor 1, such as'
            f' {target[wrong][0]} (a class listed twice for an image gives 2)'
        )
    return positive


def prepare_matrices(
    pred: np.ndarray | torch.Tensor,
    target: np.ndarray | torch.Tensor,
    ignore: np.ndarray | torch.Tensor | None,
    classes: Sequence[int] | None,
) -> tuple:
    """Checked (N, C) arrays of the chosen classes: float32 or float64, bool, bool or None."""
    pred, target = as_array(pred), as_array(target)
    ignore = None if ignore is None else as_array(ignore).astype(bool)
    if pred.ndim != 2 or not pred.size:
        raise ValueError(f'pred must be (N, C) with N and C at least 1, got {pred.shape}')
    for name, array in (('target', target), ('ignore', ignore)):
        if array is not None and array.shape != pred.shape:
            raise ValueError(f'pred is {pred.shape}, {name} is {array.shape}')
    if classes is not None:
        num_classes = pred.shape[1]
        if any(not 0 <= c < num_classes for c in classes):
            raise ValueError(f'classes {list(classes)} are not all within 0..{num_classes - 1}')
        if not 0 < len(classes) == len(set(classes)):
            raise ValueError(f'classes must be one or more different indices, got {list(classes)}')
        pred, target = pred[:, classes], target[:, classes]
        ignore = None if ignore is None else ignore[:, classes]
    if pred.dtype not in (np.float32, np.float64):
        pred = pred.astype(np.float64)
    missing = np.count_nonzero(np.isnan(pred))
    if missing:
        raise ValueError(f'{missing} of {pred.size} scores are NaN')
    return pred, binary(target if ignore is None else np.where(ignore, False, target)), ignore


def concatenate_blocks(blocks: list) -> Block | None:
    """One block of several, None of none."""
    if len(blocks) < 2:
        return blocks[0] if blocks else None
    ignore = None
    if any(block.ignore is not None for block in blocks):
        ignore = np.concatenate(
            [np.zeros_like(b.target) if b.ignore is None else b.ignore for b in blocks]
        )
    pred = np.concatenate([block.pred for block in blocks])
    return Block(pred, np.concatenate([block.target for block in blocks]), ignore)


def interleave_blocks(blocks: list, size: int) -> list:
    """[block in dataset order, without padding] or []: rank r holds the images r, r + W, ..."""
    merged = concatenate_blocks([block for block in blocks if block is not None])
    if merged is None:
        return []
    positions = [
        rank + len(blocks) * np.arange(len(block.pred))
        for rank, block in enumerate(blocks)
        if block is not None
    ]
    order = slice(size) if len(blocks) == 1 else np.argsort(np.concatenate(positions))[:size]
    merged = Block(*(None if array is None else array[order] for array in merged))
    if len(merged.pred) < size:
        print_log(f'{len(merged.pred)} of {size} images evaluated', 'current', logging.WARNING)
    return [merged]


def empty_classes(target: np.ndarray) -> np.ndarray:
    """Indices of the classes without positives."""
    return np.flatnonzero(~target.any(axis=0))


def describe_empty(empty: list) -> str:
    """How many classes have no positive, and which."""
    if not empty:
        return 'all with positives'
    names = [str(name) for name in empty[:MAX_NAMES_IN_LOG]]
    names += ['...'] * (len(empty) > MAX_NAMES_IN_LOG)
    return f'{len(empty)} without positives ({", ".join(names)})'


def save_predictions(out_file: str, block: Block, names: list) -> None:
    """Write the scores and the truth as an ``.npz`` without pickled objects."""
    Path(out_file).parent.mkdir(parents=True, exist_ok=True)
    pred, target, ignore = block
    ignore = np.zeros_like(target) if ignore is None else ignore
    classes = np.array(names, dtype=np.str_)
    np.savez(out_file, pred=pred, target=target.astype(np.uint8), ignore=ignore, classes=classes)
    print_log(f'scores of {len(pred)} images written to {out_file}', 'current')


def read_class_file(path: str) -> list:
    """Class names, one a line."""
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip()]
