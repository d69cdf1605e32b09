"""The labels of an image: C classes, K predicted labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlic.evaluation.matrices import check_whole
from mlic.evaluation.thresholds import (
    ThresholdFile,
    of_classes,
    parse_score_threshold,
    stored_thresholds,
)


@dataclass(frozen=True)
class Prediction:
    """The labels of one image.

    Attributes:
        image (str): Path or address; of other inputs their place, as 'image 3 (from 0)'.
        labels (tuple): (name, score) of each predicted label, highest score first.
        scores (dict[str, float]): The score of every class, from 0 to 1, to six digits.

    Example:
        >>> found = Prediction('a.jpg', (('dog', 0.93),), {'cat': 0.02, 'dog': 0.93})
        >>> found.names
        ['dog']
        >>> found.to_dict()['labels']
        [{'label': 'dog', 'score': 0.93}]
    """

    image: str
    labels: tuple[tuple[str, float], ...]
    scores: dict[str, float] = field(repr=False, hash=False)

    @property
    def names(self) -> list[str]:
        """The predicted labels, highest score first."""
        return [name for name, _ in self.labels]

    def to_dict(self) -> dict:
        """Plain values, ready for JSON: ``image``, ``labels`` and ``scores``."""
        labels = [dict(label=name, score=score) for name, score in self.labels]
        return dict(image=self.image, labels=labels, scores=dict(self.scores))


def choose_threshold(
    thr: float | str | Path | Mapping[str, float] | Sequence[float] | None,
    topk: int | None,
    own: ThresholdFile | None,
    classes: Sequence[str],
) -> float | np.ndarray:
    """The threshold of all C classes, or (C,).

    Args:
        thr, topk: See :meth:`.MultiLabelInferencer.stream`.
        own (ThresholdFile, optional): The checkpoint's.
        classes (Sequence[str]): Names.

    Raises:
        ValueError: If it is none, or not for as many classes, or ``topk`` is not one to C.
    """
    if isinstance(thr, Mapping):
        thr = stored_thresholds(dict(thresholds=thr), classes, 'thr')
    elif thr is None:
        thr = own or 0.5
    if isinstance(thr, ThresholdFile) or np.ndim(thr) == 0:  # numbers of numpy and torch, too
        thr = of_classes(parse_score_threshold(thr, 'thr'), classes)
    else:
        for value in thr:
            parse_score_threshold(value, 'thr')
    decide(torch.zeros(len(classes)), thr, topk)  # refuses other numbers of them
    return thr


def decide(pred_score: Tensor, thr: float | Sequence[float], topk: int | None) -> Tensor:
    """Predicted labels (K,), highest score first: scores (C,) of at least ``thr``, or the best.

    Thresholds are compared in the precision of the scores, as :class:`.Protocol` does.

    Raises:
        ValueError: If there are not as many thresholds as scores, or ``topk`` is not one to C.
    """
    order = pred_score.argsort(descending=True, stable=True)
    if topk is not None:
        check_whole('topk', topk, 1, len(order))
        return order[:topk]
    thr = torch.as_tensor(thr, dtype=pred_score.dtype)
    if thr.dim() and thr.shape != pred_score.shape:
        raise ValueError(f'got {len(thr)} thresholds for {len(pred_score)} classes')
    return order[(pred_score >= thr)[order]]
