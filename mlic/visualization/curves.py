"""Precision against recall: curves as numbers, and their picture.

N images, C classes, K points of a curve.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .page import (
    COLOURS,
    FONT_SIZE,
    HALF,
    LEGEND,
    TEXT,
    TICKS,
    add_axes,
    legend_label,
    new_page,
    text_width,
    trim_right,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ('solid', (0, (4, 1.5)))
F1_LINES = (0.2, 0.4, 0.6, 0.8)
MAX_CURVES = len(COLOURS)
SIDE, LEFT, BOTTOM, TOP, LEGEND_WIDTH = 5.2, 0.65, 0.6, 0.4, 3.7  # inches
MAX_NAME = 1.8


class Curve(NamedTuple):
    """A precision-recall curve from the highest threshold to the lowest.

    Args:
        name (str): Of a class, or 'micro average'.
        recall (np.ndarray): (K,) ascending, from 0.
        precision (np.ndarray): (K,); 1 at recall 0, by convention.
        threshold (np.ndarray): (K,) descending: what scores at least this is called present;
            infinite at recall 0.
        ap (float): Area under its steps, scikit-learn's average precision.
        support (int): Positives.
    """

    name: str
    recall: np.ndarray
    precision: np.ndarray
    threshold: np.ndarray
    ap: float
    support: int


def pr_curve(
    name: str,
    scores: np.ndarray,
    positive: np.ndarray,
    ignore: np.ndarray | None = None,
    thresholds: Sequence[float] | None = None,
) -> Curve | None:
    """The curve of one class, or of all entries at once (the micro average).

    ``scores`` (N,) or (N, C) are finite; ``positive`` and ``ignore``, what is left out, are bool of
    the same shape. None without positives, as recall is undefined, and where all is positive but
    for what is left out: the precision would say nothing. ValueError if scores are not finite.

    With ``thresholds`` the curve has the points of :func:`at_threshold` at these, and else only the
    ends of its vertical lines, which :func:`thin` keeps: at most two for each positive, where by
    default every score has one.
    """
    if ignore is not None and ignore.any():
        scores, positive = scores[~ignore], positive[~ignore]
        if positive.all():
            return None
    hits = np.sort(scores[positive])
    if not hits.size:
        return None
    ranked = np.sort(scores, axis=None)
    if not np.isfinite(ranked[[0, -1]]).all():  # NaN is sorted to the end
        raise ValueError(f'{name}: scores must be finite, got {ranked[0]} to {ranked[-1]}')
    if thresholds is None:
        threshold = np.unique(ranked)[::-1]
    else:
        # each positive's score, the one above it, the lowest, and the lowest that are high enough
        wanted = np.searchsorted(ranked, np.array(thresholds, ranked.dtype))
        places = np.searchsorted(ranked, hits), np.searchsorted(ranked, hits, 'right'), wanted, [0]
        places = np.concatenate(places)
        threshold = np.unique(ranked[places[places < ranked.size]])[::-1]
    right = hits.size - np.searchsorted(hits, threshold)
    precision = np.append(1.0, right / (ranked.size - np.searchsorted(ranked, threshold)))
    recall = np.append(0.0, right / hits.size)
    threshold = np.append(threshold.dtype.type(np.inf), threshold)
    ap = float(np.sum(np.diff(recall) * precision[1:]))
    return Curve(name, recall, precision, threshold, ap, hits.size)


def thin(curve: Curve, points: int) -> Curve:
    """A curve at no more than this many values of recall, evenly spread from 0 to the last.

    Of the points with such a recall it keeps the first and the last, the ends of a vertical line.
    """
    wanted = np.linspace(0, curve.recall[-1], points)
    first = np.searchsorted(curve.recall, wanted)
    last = np.searchsorted(curve.recall, curve.recall[first], side='right') - 1
    kept = np.unique(np.concatenate([first, last]))
    names = 'recall', 'precision', 'threshold'
    return curve._replace(**{name: getattr(curve, name)[kept] for name in names})


def at_threshold(curve: Curve, threshold: float) -> tuple[float, float] | None:
    """Recall and precision of ``score >= threshold``; None if nothing scores that much."""
    threshold = curve.threshold.dtype.type(threshold)  # compared as the metric does
    index = int(np.searchsorted(-curve.threshold, -threshold, side='right')) - 1
    return None if index < 1 else (float(curve.recall[index]), float(curve.precision[index]))


def draw_pr_curves(
    curves: Sequence[Curve], threshold: float | Sequence[float | None] = 0.5
) -> 'Figure':
    """Draw curves with lines of equal F1; a dot marks each at a threshold.

    Args:
        curves (Sequence[Curve]): The first is drawn thick and black (the micro average), up to 16
            others, each in a colour of its own.
        threshold (float | Sequence[float | None]): Of the dots; one number, or one for each curve,
            None for no dot. Defaults to 0.5.

    Returns:
        Figure: As wide as its legend needs, about 960 px at most at 100 dpi.

    Raises:
        ValueError: If there are no curves, or more than can be told apart.
    """
    if not 1 <= len(curves) <= MAX_CURVES + 1:
        raise ValueError(f'1 to {MAX_CURVES + 1} curves can be drawn, got {len(curves)}')
    is_one = isinstance(threshold, (int, float))
    width, height = LEFT + SIDE + LEGEND_WIDTH, BOTTOM + SIDE + TOP
    figure = new_page(width, height)
    axes = add_axes(figure, LEFT, BOTTOM, SIDE, SIDE)
    _equal_f1(axes)
    for number, curve in enumerate(curves):
        style = dict(color='black', linewidth=2.4, zorder=4)
        if number:
            dash = DASHES[(number - 1) // HALF]
            style = dict(color=COLOURS[number - 1], linestyle=dash, linewidth=1.5, zorder=3)
        numbers = f'  AP {100 * curve.ap:.1f}  ({curve.support})'
        label = legend_label(curve.name, MAX_NAME + text_width(numbers), numbers)
        curve_shown = thin(curve, 1000)
        axes.step(curve_shown.recall, curve_shown.precision, where='pre', label=label, **style)
        own = threshold if is_one else threshold[number]
        dot = None if own is None else at_threshold(curve, own)
        if dot:
            axes.plot(*dot, 'o', color=style['color'], markersize=6, zorder=5, markeredgecolor='w')
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    axes.set_xlabel('recall', **TEXT)
    axes.set_ylabel('precision', **TEXT)
    least = f'{threshold:g}' if is_one else "each class's threshold"
    axes.set_title(f'precision and recall; dots: score ≥ {least}', fontsize=FONT_SIZE)
    axes.tick_params(**TICKS)
    axes.spines[['top', 'right']].set_visible(False)
    title = dict(title='average precision (positives)', title_fontsize=FONT_SIZE, alignment='left')
    axes.legend(**LEGEND, bbox_to_anchor=(1.06, 1), fontsize=FONT_SIZE, **title)
    trim_right(figure, axes)
    return figure


def _equal_f1(axes: 'Axes') -> None:
    """Grey lines on which F1 = 2 p r / (p + r) is the same, named at their right end."""
    for f1 in F1_LINES:
        recall = np.linspace(f1 / 2 + 1e-3, 1, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color='#c6ccd2', linewidth=0.8, zorder=1)
        axes.text(1.005, f1 / (2 - f1), f'F1 {f1:g}', fontsize=8, color='#6b7280', va='center')
