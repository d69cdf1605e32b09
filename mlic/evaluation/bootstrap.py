"""Bootstrap over test images, by weights instead of copies.

Shapes in this module: N images, C classes, R resamples, P positives of a class, K pairs of an image
and a class.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mlic.cores import usable_cores

# resamples whose weights are in work at once: 40,000 images x 100 x 4 bytes = 16 MB a core
RESAMPLES_AT_ONCE = 100


def bootstrap_weights(num_images: int, num_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each image is drawn: (N, R) int32, each column sums to N."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_resamples)
    return np.ascontiguousarray(draws.T, dtype=np.int32)


def weighted_ap(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""Average precision of one class where image n counts :math:`w_n` times.

    .. math::
        AP = \frac{\sum_i w_i p_i}{\sum_i w_i}, \qquad
        p_i = \frac{\sum_{j: s_j \ge s_i} w_j y_j}{\sum_{j: s_j \ge s_i} w_j}

    over the positives i. With integer weights it is the plain average precision (scikit-learn's)
    of the images, each repeated as often as its weight says.

    Args:
        scores (np.ndarray): (N,).
        positive (np.ndarray): (N,) bool.
        weights (np.ndarray): (N, R), not negative, of a type that holds the sum of N of them, as
            :func:`bootstrap_weights` has.

    Returns:
        np.ndarray: (R,) float64, NaN where no positive has a weight.
    """
    order = np.argsort(-scores)
    ranked = scores[order]
    hits = np.flatnonzero(positive[order])  # (P,) ranks
    if not hits.size:
        return np.full(weights.shape[1], np.nan)
    # of equal scores, all stand above each other: take the sums at the last of them
    last = np.searchsorted(-ranked, -ranked[hits], side='right') - 1
    ends, group = np.unique(last, return_inverse=True)
    # sums from one of these to the next, then of those: P rows instead of N
    starts = np.append(0, ends[:-1] + 1)
    counted = weights.take(order[: ends[-1] + 1], axis=0)
    parts = np.add.reduceat(counted, starts, axis=0, dtype=counted.dtype)  # which copies nothing
    above = np.cumsum(parts, axis=0, dtype=np.int64).take(group, axis=0)  # (P, R)
    own = counted.take(hits, axis=0)
    last_hit = np.searchsorted(hits, last, side='right') - 1
    positives_above = np.cumsum(own, axis=0, dtype=np.int64).take(last_hit, axis=0)
    precision = positives_above / np.maximum(above, 1)
    return divide((own * precision).sum(axis=0), own.sum(axis=0))


def mean_ap(
    pred: np.ndarray, target: np.ndarray, weights: np.ndarray, ignore: np.ndarray | None = None
) -> np.ndarray:
    """Plain mAP of each resample, over the classes that have a positive in it.

    As in ``MLICMetric``, a class with an ignored entry and no negative in a resample has no part.

    Args:
        pred (np.ndarray): (N, C) scores.
        target (np.ndarray): (N, C) bool.
        weights (np.ndarray): (N, R) of :func:`bootstrap_weights`.
        ignore (np.ndarray, optional): (N, C) bool, entries to leave out. Defaults to None.

    Returns:
        np.ndarray: (R,) fractions, NaN where no class has a positive.
    """
    classes = np.flatnonzero(target.any(axis=0))

    def of_class(c: int, chosen: np.ndarray) -> np.ndarray:
        kept = slice(None) if ignore is None else ~ignore[:, c]
        ap = weighted_ap(pred[kept, c], target[kept, c], chosen[kept])
        if ignore is not None and ignore[:, c].any():
            negative, hidden = (chosen[rows].any(axis=0) for rows in (~target[:, c] & kept, ~kept))
            ap[hidden & ~negative] = np.nan
        return ap

    parts = []
    for start in range(0, weights.shape[1], RESAMPLES_AT_ONCE):
        chosen = np.ascontiguousarray(weights[:, start : start + RESAMPLES_AT_ONCE])
        # numpy sums without the interpreter's lock
        with ThreadPoolExecutor(usable_cores()) as pool:
            aps = list(pool.map(of_class, classes, itertools.repeat(chosen)))
        parts.append(mean_over_classes(np.reshape(aps, (-1, chosen.shape[1]))))
    return np.concatenate(parts)


def means_by_class(
    values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """The mean of each class over its pairs, without those whose value is NaN.

    Args:
        values (np.ndarray): (K, …); with weights (K, R), or (K,) for the same in all resamples.
        labels (np.ndarray): (K,), the class of each.
        weights (np.ndarray, optional): (K, R), how often a pair counts. Defaults to None: once.

    Returns:
        np.ndarray: (C, …) float64 of the C classes that have pairs, in ascending order; with
        weights (C, R). NaN where nothing counts.
    """
    if weights is None:
        weights = np.ones(values.shape)
    elif values.ndim == 1:
        values = values[:, None]
    means = []
    for label in np.unique(labels):
        value, weight = values[labels == label], weights[labels == label]
        weight = np.where(np.isnan(value), 0, weight)
        total = np.einsum('k...,k...->...', np.nan_to_num(value), weight, dtype=np.float64)
        means.append(divide(total, weight.sum(axis=0, dtype=np.float64)))
    return np.array(means)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """The mean of (C, …) over the classes that have a value, NaN where none has."""
    return divide(np.nansum(values, axis=0), np.isfinite(values).sum(axis=0))


def divide(total: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """total / mass, NaN where there is no mass."""
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.nan)


def paired_interval(
    values: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> tuple[float, float]:
    """The interval that has the middle 95 % of the mean over seeds of a paired difference.

    Args:
        values (Sequence[np.ndarray]): (R,) for each seed, from the same resamples.
        others (Sequence[np.ndarray]): What is subtracted, the same seeds in the same order.

    Returns:
        tuple[float, float]: Lower and upper end. The seeds are taken as they are: the interval
        says what other test images would change, not what other seeds would. Resamples with a NaN
        are left out.
    """
    difference = np.mean([v - o for v, o in zip(values, others)], axis=0)  # (R,)
    low, high = np.nanquantile(difference, [0.025, 0.975])
    return float(low), float(high)
