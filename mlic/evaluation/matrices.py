"""Matrices of scores and labels: making, checking and joining them. N images, C classes."""

import logging
from collections.abc import Sequence
from numbers import Integral
from operator import index
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log

from mlic.names import first_names, repeated, short

DIFFICULT_RULES = ('ignore', 'negative', 'positive')


class Block(NamedTuple):
    """Scores and truth of some images: (N, C) float and bool; two of them may be None.

    ``difficult`` are the entries that are whatever :func:`apply_difficult_rule` makes of them,
    ``unknown`` those that nobody annotated and that never count. ``target`` is False at both,
    ``difficult`` at the unknown ones.
    """

    pred: np.ndarray
    target: np.ndarray
    difficult: np.ndarray | None = None
    unknown: np.ndarray | None = None


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """A numpy array of tensors on any device; 16-bit floats become float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def as_scores(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Scores as all that compares them takes them: float32 or float64, which whole numbers become.

    A threshold is compared in their precision, and must not be cast to integers or to 16 bits.
    """
    scores = as_array(values)
    native = scores.dtype.newbyteorder('=')
    wanted = native if native in (np.float32, np.float64) else np.float64
    return scores.astype(wanted, copy=False)


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


def marked(data_samples: Sequence[dict], key: str, num_classes: int) -> np.ndarray | None:
    """(N, C) bool from the class indices under a key that samples may have; None without any."""
    labels = [sample.get(key, ()) for sample in data_samples]
    return multi_hot(labels, num_classes) if any(map(len, labels)) else None


def check_whole(name: str, number: int, least: int, most: int | None = None) -> None:
    """ValueError if an argument is no whole number, too small or too large."""
    whole = isinstance(number, Integral) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        end = '' if most is None else f' and at most {most}'
        raise ValueError(f'{name} must be a whole number of at least {least}{end}, got {number!r}')


def check_difficult_rule(rule: str) -> None:
    """ValueError if it is none of :data:`DIFFICULT_RULES`."""
    if rule not in DIFFICULT_RULES:
        raise ValueError(f"difficult is 'ignore', 'negative' or 'positive', not {rule!r}")


def apply_difficult_rule(block: Block, rule: str) -> tuple:
    """``target`` and ``ignore`` (bool or None) when difficult entries are what ``rule`` says.

    Unknown entries are ignored whatever it says.

    Args:
        rule (str): One of :data:`DIFFICULT_RULES`.
    """
    check_difficult_rule(rule)
    _, target, difficult, unknown = block
    if difficult is None or not difficult.any():
        return target, unknown
    if rule == 'ignore':
        return target, difficult if unknown is None else difficult | unknown
    return target | difficult if rule == 'positive' else target, unknown


def binary(target: np.ndarray) -> np.ndarray:
    """Labels as bool, themselves if they are; ValueError unless they are 0 and 1."""
    if target.dtype == bool:
        return target
    positive = target == 1
    wrong = ~positive & (target != 0)
    if wrong.any():
        first = target[wrong][0]
        why = ''
        if first == 2:
            why = ' (a class listed twice for an image?)'
        elif first == -1 or first != first:
            why = (
                ' (absent is 0; mark unknown labels by ignore=... in Python, by the array '
                "'unknown' in a prediction file)"
            )
        raise ValueError(
            f'{np.count_nonzero(wrong)} of {target.size} labels are neither 0 nor 1, such as'
            f' {first}{why}'
        )
    return positive


def check_finite(pred: np.ndarray, names: Sequence | None = None) -> None:
    """ValueError that names the first image and class if a score is NaN or infinite."""
    finite = np.isfinite(pred)
    if finite.all():
        return
    row, column = np.argwhere(~finite)[0]
    raise ValueError(
        f'{np.count_nonzero(~finite)} of {pred.size} scores are NaN or infinite; the first is of'
        f' image {row} (from 0), class {column if names is None else names[column]}'
    )


def raise_for_scores(
    pred: np.ndarray, data_samples: Sequence[dict], names: Sequence[str], before: int
) -> None:
    """ValueError that names the first image and class of a batch with a NaN or infinite score.

    Args:
        before (int): Number of images that were evaluated before this batch.
    """
    row, column = np.argwhere(~np.isfinite(pred))[0]
    image = data_samples[row].get('img_path') or f'number {before + row} (from 0) of this process'
    wrong = np.count_nonzero(~np.isfinite(pred).all(axis=1))
    raise ValueError(
        f'the score of class {names[column]!r} is {pred[row, column]} for image {image}'
        f' ({wrong} of {len(pred)} images of its batch have such scores): the weights or the'
        ' precision of the model are at fault; if mixed precision is on, try without'
    )


def prepare_matrices(
    pred: np.ndarray | torch.Tensor,
    target: np.ndarray | torch.Tensor,
    ignore: np.ndarray | torch.Tensor | None,
    classes: Sequence[int] | None,
) -> tuple:
    """Checked (N, C) arrays of the chosen classes: float32 or float64, bool, bool or None."""
    pred, target = as_scores(pred), as_array(target)
    ignore = None if ignore is None else as_array(ignore).astype(bool, copy=False)
    if pred.ndim != 2 or not pred.size:
        raise ValueError(f'pred must be (N, C) with N and C at least 1, got {pred.shape}')
    for name, array in (('target', target), ('ignore', ignore)):
        if array is not None and array.shape != pred.shape:
            raise ValueError(f'pred is {pred.shape}, {name} is {array.shape}')
    if classes is not None:
        classes = class_indices(classes, range(pred.shape[1]))
        pred, target = pred[:, classes], target[:, classes]
        ignore = None if ignore is None else ignore[:, classes]
    check_finite(pred, classes)
    return pred, binary(target if ignore is None else np.where(ignore, False, target)), ignore


def concatenate_blocks(blocks: list) -> Block | None:
    """One block of several, None of none."""
    if len(blocks) < 2:
        return blocks[0] if blocks else None

    def joined(parts: list) -> np.ndarray | None:
        if all(part is None for part in parts):
            return None
        return np.concatenate(
            [np.zeros_like(b.target) if part is None else part for b, part in zip(blocks, parts)]
        )

    return Block(*map(joined, zip(*blocks)))


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


def without_negatives(target: np.ndarray, ignore: np.ndarray | None) -> np.ndarray:
    """(C,) bool: the classes with ignored entries of which all others, if any, are positive.

    Their AP and precision would say nothing: whatever is called present is right.
    """
    if ignore is None:
        return np.zeros(target.shape[1], dtype=bool)
    return ignore.any(axis=0) & (target | ignore).all(axis=0)


def lacking_classes(target: np.ndarray, ignore: np.ndarray | None, names: Sequence) -> tuple:
    """Names of the classes without positives, and of those :func:`without_negatives`: two lists."""
    groups = ~target.any(axis=0), without_negatives(target, ignore)
    return tuple([names[c] for c in np.flatnonzero(group)] for group in groups)


def describe_lacking(empty: Sequence, one_sided: Sequence) -> str:
    """How many classes are in either list of :func:`lacking_classes`, and which."""
    groups = (('positives', empty), ('known negatives', one_sided))
    parts = [f'{len(some)} without {what} ({first_names(some)})' for what, some in groups if some]
    return ', '.join(parts) or 'all with positives'


def class_indices(
    classes: Sequence[int] | Sequence[str] | None, names: Sequence[str]
) -> list | None:
    """Indices of classes that are given by index or by name; None for all.

    Without names, indices may be as large as they like.

    Raises:
        ValueError: If they are not one or more different classes of these names.
    """
    if classes is None:
        return None
    names, found = list(names), list(classes) if np.iterable(classes) else []
    if any(isinstance(c, str) for c in found):
        unknown = [c for c in found if c not in names]
        if unknown:
            raise ValueError(
                f'classes {short(unknown)} are not among the {len(names)} of the dataset'
            )
        for name in repeated(names):
            if name in found:
                raise ValueError(f'several of the {len(names)} classes are called {short(name)}')
        found = [names.index(c) for c in found]
    try:
        found = [index(c) for c in found]
    except TypeError:
        found = []
    if not 0 < len(found) == len(set(found)):
        raise ValueError(f'classes must be one or more different indices, got {classes}')
    if names and any(not 0 <= c < len(names) for c in found):
        raise ValueError(f'classes {found} are not all within 0..{len(names) - 1}')
    return found
