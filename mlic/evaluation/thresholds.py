"""Decision thresholds: read from a file, or fitted. N images, C classes, P positives."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mlic.files import read_csv, read_json
from mlic.names import counted, first_names, printable, short

from .matrices import prepare_matrices, without_negatives


class ThresholdFile(NamedTuple):
    """Thresholds by class name, the file that they came from, and what it was fitted on."""

    path: str
    values: dict
    fitted_on: dict

    def of_classes(self, names: Sequence[str]) -> np.ndarray:
        """Thresholds (C,) of these classes; ValueError if names differ from the file's."""
        missing = [name for name in names if name not in self.values]
        known = set(names)
        unknown = [name for name in self.values if name not in known]
        wrong = [
            f'{what}: {first_names(some, form=_shown)}'
            for what, some in (
                (f'no threshold for {counted(len(missing), "class")}', missing),
                (counted(len(unknown), 'unknown class'), unknown),
            )
            if some
        ]
        if wrong:
            raise ValueError(
                f'{self.path} has {"; and ".join(wrong)} '
                f'(each of the {counted(len(names), "class")} needs one)'
            )
        return np.array([self.values[name] for name in names])

    def __str__(self) -> str:
        """Where they are from, for a line of text."""
        text = f"each class's own in {self.path}"
        if self.fitted_on.get('file'):
            text += f', fitted on {printable(str(self.fitted_on["file"]))}'
        if isinstance(self.fitted_on.get('images'), int):
            text += f' ({counted(self.fitted_on["images"], "image")})'
        if self.fitted_on.get('tta'):
            text += f', with test-time augmentation {printable(str(self.fitted_on["tta"]))}'
        return text

    def content(self) -> dict:
        """What :func:`stored_thresholds` takes, as plain values; the fitted file without folder."""
        file = {'file': Path(str(self.fitted_on['file'])).name} if 'file' in self.fitted_on else {}
        return dict(thresholds=self.values, fitted_on={**self.fitted_on, **file})


def parse_threshold(
    threshold: float | str | Path | ThresholdFile | None,
) -> float | ThresholdFile | None:
    """A number, a :class:`ThresholdFile` or None, of a number, a path or None.

    Raises:
        ValueError: A number that is not finite, or a malformed file.
    """
    if isinstance(threshold, (str, Path)):
        try:
            threshold = float(str(threshold))
        except ValueError:
            return read_thresholds(threshold)
    if threshold is None or isinstance(threshold, ThresholdFile):
        return threshold
    number = _number(threshold)
    if not math.isfinite(number):
        raise ValueError(f'threshold must be a finite number or a file, got {short(threshold)}')
    return number


def parse_score_threshold(
    threshold: float | str | Path | ThresholdFile | None, name: str = '--threshold'
) -> float | ThresholdFile | None:
    """:func:`parse_threshold` of what is a score; ValueError if it is not between 0 and 1."""
    found = parse_threshold(threshold)
    if isinstance(found, float) and not 0 <= found <= 1:
        raise ValueError(f'{name} is a score, between 0 and 1, got {found:g}')
    return found


def stored_thresholds(content: object, names: Sequence[str], source: str) -> ThresholdFile | None:
    """The thresholds inside a model file, which are data of somebody else; None if there are none.

    Args:
        content (object): ``{'thresholds': {class name: threshold}, 'fitted_on': {...}}``, or None.
        names (Sequence[str]): The classes of the model.
        source (str): The file, for messages.

    Raises:
        ValueError: If they are not of these classes, all of them, each from 0 to 1; one line.
    """
    if content is None:
        return None
    if not isinstance(content, Mapping) or not isinstance(content.get('thresholds'), Mapping):
        raise ValueError(f'{source}: its thresholds must be an object {{class name: threshold}}')
    found = _checked(*_parts(content), source)
    found.of_classes(names)  # refuses other names
    return found


def of_classes(threshold: float | ThresholdFile, names: Sequence[str]) -> float | np.ndarray:
    """The number, or the thresholds (C,) of these classes; ValueError if names differ."""
    return threshold.of_classes(names) if isinstance(threshold, ThresholdFile) else threshold


def read_thresholds(path: str | Path) -> ThresholdFile:
    """Thresholds of classes, each from 0 to 1, from a ``.json`` or ``.csv`` file.

    JSON: ``{class name: threshold}``, alone or as the entry ``thresholds`` of what
    ``tools/analysis_tools/fit_thresholds.py`` writes. CSV: the columns ``class`` and ``threshold``.

    Args:
        path (str | Path): The file.

    Returns:
        ThresholdFile: For ``threshold=`` of :class:`MLICMetric` and its tools.

    Raises:
        OSError: The file cannot be read.
        ValueError: What is wrong in it, with its name.
    """
    path = Path(path)
    readers = {'.json': _read_json, '.csv': _read_csv}
    if path.suffix not in readers:
        raise ValueError(f'threshold must be a number, a .json or a .csv file, got {path}')
    return _checked(*readers[path.suffix](path), str(path))


def _checked(pairs: Iterable, fitted_on: dict, path: str) -> ThresholdFile:
    """Of [(name, value)]; each name once, each value from 0 to 1."""
    values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f'{path}: class {short(name)} occurs twice')
        values[name] = _score(value, name, path)
    if not values:
        raise ValueError(f'{path}: no thresholds in it')
    return ThresholdFile(path, values, fitted_on)


def _read_json(path: Path) -> tuple[list, dict]:
    """[(name, value)] and what they were fitted on."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path}: must hold an object {{class name: threshold}}')
    if not isinstance(content.get('thresholds'), dict):
        return list(content.items()), {}
    return _parts(content)


def _shown(name: object) -> str:
    return printable(str(name))


def _parts(content: Mapping) -> tuple[list, dict]:
    """[(name, value)] and what they were fitted on, of the form with ``thresholds``."""
    fitted_on = content.get('fitted_on')
    return list(content['thresholds'].items()), fitted_on if isinstance(fitted_on, dict) else {}


def _read_csv(path: Path) -> tuple[list, dict]:
    """[(name, value)] of the rows below the header; what it was fitted on is not in it."""
    _, header = next(rows := read_csv(path), (0, []))
    if [cell.strip() for cell in header] != ['class', 'threshold']:
        raise ValueError(f"{path}: the first line must be the header 'class,threshold'")
    pairs = []
    for number, row in rows:
        if len(row) != 2:
            raise ValueError(
                f'{path}, line {number}: a row must be class,threshold, got {short(row)}'
            )
        pairs.append(row)
    return pairs, {}


def _number(value: object) -> float:
    """It as a float, NaN if it is no number."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _score(value: object, name: str, path: str) -> float:
    """A number from 0 to 1, from JSON or from the text of a CSV cell."""
    number = _number(value)
    if not math.isfinite(number):
        raise ValueError(
            f'{path}: the threshold of {short(name)} must be a finite number, got {short(value)}'
        )
    if not 0 <= number <= 1:
        raise ValueError(
            f'{path}: the threshold of {short(name)} must be from 0 to 1, got {short(value)}'
        )
    return number


def fit_thresholds(
    pred: np.ndarray | torch.Tensor,
    target: np.ndarray | torch.Tensor,
    ignore: np.ndarray | torch.Tensor | None = None,
    strict: bool = False,
    smoothing: float = 1.0,
    precision: float | None = None,
) -> tuple[np.ndarray, float]:
    r"""A threshold for each class that maximises its F1, pulled to the global one if it is rare.

    .. math::
        t_c = \frac{P_c\, t_c^* + k\, t^*}{P_c + k}

    :math:`t_c^*` maximises the F1 of class c, :math:`t^*` the F1 over all entries with one
    threshold for all classes, both by :func:`best_threshold`; :math:`P_c` are the positives of c.
    A class without positives takes :math:`t^*`, and so does one of :func:`without_negatives`, for
    which calling everything present is best.

    Args:
        pred, target, ignore: (N, C), as in :meth:`MLICMetric.calculate`.
        strict (bool): Decide by score > t, not >= t. Defaults to False.
        smoothing (float): k, in positives. Defaults to 1, a guess.
        precision (float, optional): Take, instead of the best F1, the highest recall at which this
            share of what is called present is right: for each class and for all entries, without
            smoothing. Where no threshold has it, it is 1. Defaults to None.

    Returns:
        tuple[np.ndarray, float]: (C,) float64 thresholds, and the global one.

    Raises:
        ValueError: No positive at all, a negative ``smoothing``, a ``precision`` that is not
            between 0 and 1, or matrices that :meth:`MLICMetric.calculate` refuses.

    Example:
        >>> import numpy as np
        >>> from mlic.evaluation import fit_thresholds
        >>> scores = np.array([[0.9, 0.2], [0.8, 0.4], [0.3, 0.3], [0.1, 0.1]])
        >>> truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
        >>> each, for_all = fit_thresholds(scores, truth)
        >>> each.round(3), round(for_all, 3)
        (array([0.45, 0.25]), 0.25)
    """
    if not (math.isfinite(smoothing) and smoothing >= 0):
        raise ValueError(f'smoothing must be a finite number of at least 0, got {smoothing}')
    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f'precision must be above 0 and at most 1, got {precision}')
    pred, target, ignore = prepare_matrices(pred, target, ignore, None)
    if not target.any():
        raise ValueError(f'no positive label among {len(target)} images: nothing to fit')
    if ignore is None:
        # of which no copy is made
        overall = best_threshold(pred.ravel(), target.ravel(), strict, precision)
    else:
        overall = best_threshold(pred[~ignore], target[~ignore], strict, precision)
    thresholds = np.full(pred.shape[1], overall)
    for c in np.flatnonzero(target.any(axis=0) & ~without_negatives(target, ignore)):
        rows = slice(None) if ignore is None else ~ignore[:, c]
        own = best_threshold(pred[rows, c], target[rows, c], strict, precision)
        if precision is not None:
            thresholds[c] = own
            continue
        positives = np.count_nonzero(target[:, c])
        # never beyond either, however it is rounded: one may be the lowest score
        moved = own + (overall - own) * (smoothing / (positives + smoothing))
        thresholds[c] = np.clip(moved, min(own, overall), max(own, overall))
    return thresholds, overall


def best_threshold(
    scores: np.ndarray, positive: np.ndarray, strict: bool, precision: float | None = None
) -> float:
    """The threshold with the highest F1: 2 TP / (decisions + positives).

    It is the midpoint between two adjacent scores (the F1 is the same anywhere between them); of
    equal F1 the highest. Where everything is called present, it lies at the lowest score. Scores
    from 0 to 1 have a threshold from 0 to 1: one of 0 is never called present by score > t.

    Args:
        scores (np.ndarray): (N,) float.
        positive (np.ndarray): (N,) bool, at least one.
        strict (bool): Decide by score > t, not >= t.
        precision (float, optional): The lowest threshold with this precision instead, or 1.
    """
    ranked, positives = np.sort(scores), np.sort(scores[positive])
    # Below a positive the F1 falls until the next one, so only their scores can be the lowest that
    # is called present; or the highest of all, where each F1 is 0.
    lowest = np.unique(np.append(positives, ranked[-1]))[::-1]
    below = np.searchsorted(ranked, lowest)  # the number that are not
    hits = len(positives) - np.searchsorted(positives, lowest)
    f1 = 2 * hits / (len(ranked) - below + len(positives))
    if strict and ranked[0] == 0:
        f1[below == 0] = 0
    best = np.argmax(f1)
    if precision is not None:
        reached = np.flatnonzero((hits / (len(ranked) - below) >= precision) & (f1 > 0))
        if not len(reached):
            return 1.0
        best = reached[-1]
    high = lowest[best]
    if below[best] == 0:
        under = np.nextafter(high, -np.inf, dtype=scores.dtype)
        return float(under if strict and high != 0 else high)
    low = ranked[below[best] - 1]
    middle = low + (high - low) / 2
    # between neighbouring floats the midpoint is one of them: take the one that decides right
    if strict and middle >= high:
        middle = low
    elif not strict and middle <= low:
        middle = high
    return float(middle)
