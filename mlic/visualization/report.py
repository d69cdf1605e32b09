"""A report as one HTML page that needs nothing else: its data, and the page around them.

N images, C classes, T = 101 thresholds. The page is ``report_template.html``, which shows what it
finds in one JSON object and computes precision, recall and F1 of any thresholds from counts.
"""

import base64
import html
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .curves import Curve, pr_curve, thin

TEMPLATE = Path(__file__).with_name('report_template.html')
STEPS = 101  # thresholds 0, 0.01, ... 1
CURVE_POINTS, MICRO_POINTS = 60, 200


def threshold_counts(
    pred: np.ndarray,
    target: np.ndarray,
    ignore: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decisions ``score >= k / 100`` and the right ones among them, for k = 0 to 100.

    The thresholds are compared in the precision of the scores, as ``MLICMetric`` does.

    Args:
        pred (np.ndarray): (N, C) scores from 0 to 1.
        target (np.ndarray): (N, C) bool.
        ignore (np.ndarray, optional): (N, C) bool, entries to leave out. Defaults to None.
        own (np.ndarray, optional): (C,), one more threshold of each class. Defaults to None.

    Returns:
        tuple[np.ndarray, np.ndarray]: Both (C, 101), integers; with ``own`` (C, 102).
    """
    steps = np.arange(STEPS) / (STEPS - 1)
    num_thresholds = STEPS if own is None else STEPS + 1
    decisions, hits = np.zeros((2, pred.shape[1], num_thresholds), dtype=np.int64)
    for c in range(pred.shape[1]):
        thresholds = (steps if own is None else np.append(steps, own[c])).astype(pred.dtype)
        counted = slice(None) if ignore is None else ~ignore[:, c]
        for counts, scores in ((decisions, pred[counted, c]), (hits, pred[target[:, c], c])):
            counts[c] = len(scores) - np.searchsorted(np.sort(scores), thresholds)
    return decisions, hits


def select_mistakes(
    pred: np.ndarray, target: np.ndarray, ignore: np.ndarray | None, num: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(image, class) of the highest scores that are wrong, and of the lowest that are missed.

    An image is there once in each list, a class at most twice (more often with few classes).
    """
    absent = ~target if ignore is None else ~target & ~ignore
    return _highest(pred, absent, num), _highest(-pred, target, num)


def _highest(values: np.ndarray, allowed: np.ndarray, num: int) -> list[tuple[int, int]]:
    """(image, class) of at most ``num`` allowed entries (N, C), the highest value first."""
    per_class = max(2, math.ceil(num / values.shape[1]))
    entries, used = [], np.zeros(values.shape[1], dtype=int)
    values = np.where(allowed, values, -np.inf)  # so is what cannot come any more
    labels = values.argmax(axis=1)  # (N,) the best of each image
    best = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    while len(entries) < num and best.max(initial=-np.inf) > -np.inf:
        image = int(best.argmax())
        label = int(labels[image])
        entries.append((image, label))
        best[image] = -np.inf
        used[label] += 1
        if used[label] == per_class:
            values[:, label] = -np.inf
            images = np.flatnonzero((labels == label) & (best > -np.inf))
            labels[images] = values[images].argmax(axis=1)
            best[images] = values[images, labels[images]]
    return entries


def picture_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3), uint8, RGB, as a JPEG within a ``data:`` address.

    It is made smaller where it is wider or higher than 224 pixels.
    """
    image = Image.fromarray(picture)
    image.thumbnail((224, 224))
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=82)
    return 'data:image/jpeg;base64,' + base64.b64encode(file.getvalue()).decode()


def prediction_data(
    pred: np.ndarray,
    target: np.ndarray,
    ignore: np.ndarray | None,
    names: Sequence[str],
    threshold: float | np.ndarray = 0.5,
) -> dict:
    """What the page computes from: counts at the thresholds and curves, of C classes.

    Args:
        pred (np.ndarray): (N, C) scores from 0 to 1.
        target (np.ndarray): (N, C) bool.
        ignore (np.ndarray, optional): (N, C) bool, entries to leave out.
        names (Sequence[str]): C names.
        threshold (float | np.ndarray): One, or (C,): those that the page starts with. Defaults
            to 0.5.

    Returns:
        dict: Ready for :func:`render_page`. ``support``, ``predicted`` and ``hits`` are counts;
        the latter two have a 102nd for the threshold in ``start`` of a class where it lies between
        the sliders' steps. ``ap`` is in percent (plain, None where :func:`.curves.pr_curve` is),
        ``curves`` are pairs (recall, precision) in thousandths.

    Raises:
        ValueError: If a threshold is not within 0 and 1.
    """
    start = np.broadcast_to(np.asarray(threshold, dtype=float), (len(names),))
    for name, value in zip(names, start.tolist()):
        if not 0 <= value <= 1:
            raise ValueError(
                f'thresholds on the page go from 0 to 1, as scores do, got {value:g} for {name!r}'
            )
    decisions, hits = threshold_counts(pred, target, ignore, start)
    lengths = STEPS + (start != np.rint(100 * start) / 100)
    micro = pr_curve('micro average', pred, target, ignore, ())
    classes = []
    for c, name in enumerate(names):
        hidden = None if ignore is None else ignore[:, c]
        curve = pr_curve(name, pred[:, c], target[:, c], hidden, ())
        classes.append(curve and thin(curve, CURVE_POINTS))
    return dict(
        images=len(pred),
        classes=[str(name) for name in names],
        support=target.sum(axis=0).tolist(),
        start=start.tolist(),
        predicted=[row[:n].tolist() for row, n in zip(decisions, lengths)],
        hits=[row[:n].tolist() for row, n in zip(hits, lengths)],
        ap=[None if curve is None else round(100 * curve.ap, 3) for curve in classes],
        curves=[curve and _thousandths(curve) for curve in classes],
        micro=micro and _thousandths(thin(micro, MICRO_POINTS)),
        micro_ap=None if micro is None else round(100 * micro.ap, 3),
    )


def _thousandths(curve: Curve) -> list:
    """[[recall], [precision]] as integers."""
    return [np.rint(1000 * values).astype(int).tolist() for values in curve[1:3]]


def render_page(title: str, data: dict) -> str:
    """The page with its data.

    Args:
        title (str): Any text.
        data (dict): What JSON can hold: :func:`prediction_data`, and ``facts`` (the line that the
            page opens with), ``notes`` (lines below its main numbers), ``protocols`` (name, rule,
            classes, metrics), ``mistakes`` and ``missed``
            (label, score, image, true, picture, overlay), ``fitted_on`` (what thresholds that are
            chosen on the page were fitted on: of these predictions) and ``start_fitted_on`` (the
            same of those that it starts with, or None). Where labels are unknown also ``known``
            (of each class, the percentage of images whose label is known), and ``unknown`` of
            mistakes and missed (a text).

    Returns:
        str: HTML. Titles, names and paths are shown as text, whatever they hold.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    # within a script element only these could end it, or start a comment
    for letter in '<>&\u2028\u2029':
        text = text.replace(letter, f'\\u{ord(letter):04x}')
    parts = dict(title=html.escape(title), data=text)
    template = TEMPLATE.read_text(encoding='utf-8')
    # all marks at once: what is put in may look like one
    return re.sub(r'\{\{(title|data)\}\}', lambda mark: parts[mark[1]], template)
