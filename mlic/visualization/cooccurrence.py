"""Which labels come together, in the truth and in the predictions. N images, C classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import page
from .prototypes import cluster_order, cosine_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_PIXELS = 440  # about, of many classes; a class takes a whole number of pixels
CLASS_PIXELS = 26  # of few classes, so that names stay legible where the figure is shown smaller
MAX_TICKS = 24
MAX_NAME = 1.4
GAP, TITLE, BAR_WIDTH, BAR_LABELS, LEGEND = 0.25, 0.65, 0.16, 0.5, 0.3  # inches


def conditional_shares(present: np.ndarray, ignore: np.ndarray | None = None) -> np.ndarray:
    """(C, C): of the images (N, C), bool, with class i, the share from 0 to 1 that has j too.

    ``ignore`` (N, C), bool, are entries of which nothing is known: an image counts for the pairs
    that it says something about. The diagonal is 1; NaN where no image counts, as in the row of a
    class without images.
    """
    # float32 counts exactly to 2^24 images, and its product is the fast one
    present = (
        present.astype(np.float32) if ignore is None else (present & ~ignore).astype(np.float32)
    )
    known = np.ones_like(present) if ignore is None else (~ignore).astype(np.float32)
    together, images = ((present.T @ other).astype(np.float64) for other in (present, known))
    return together / np.where(images > 0, images, np.nan)


def cooccurrence_order(target: np.ndarray, max_classes: int) -> list[int]:
    """The most frequent classes, those that come in the same images side by side."""
    frequent = np.argsort(-target.sum(axis=0), kind='stable')[:max_classes]
    vectors = torch.from_numpy(target[:, frequent].T.astype(np.float64))
    return frequent[cluster_order(cosine_matrix(vectors))].tolist()


def draw_cooccurrence(
    truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], order: Sequence[int]
) -> 'Figure':
    """Draw both matrices of :func:`conditional_shares`, and predictions minus truth.

    The diagonals are grey: they are 1. So are rows without images. Of more than 24 classes, every
    k-th is named.

    Args:
        truth (np.ndarray): (C, C) of the labels.
        predicted (np.ndarray): (C, C) of the predictions.
        class_names (Sequence[str]): C names.
        order (Sequence[int]): Classes to draw, from top to bottom.

    Returns:
        Figure: About 900 px wide at 100 dpi, with many classes 1700.

    Raises:
        ValueError: If sizes differ, there is no class, or the labels say nothing of any pair.
    """
    from matplotlib import colormaps

    if truth.shape != predicted.shape or len(truth) != len(class_names) or not len(order):
        sizes = f'{truth.shape}, {predicted.shape}, {len(class_names)} names, {len(order)} drawn'
        raise ValueError(f'two matrices (C, C), C names and an order are needed, got {sizes}')
    chosen = np.ix_(order, order)
    matrices = [truth[chosen], predicted[chosen]]
    if np.isnan(_off_diagonal(matrices[0])).all():
        none = 'no image has a label, or no other class is known of it'
        what = 'there is one class' if len(order) == 1 else none
        raise ValueError(f'{what}: nothing comes together')
    step = -(-len(order) // MAX_TICKS)
    ticks = range(0, len(order), step)
    labels = [page.fit_text(class_names[order[tick]], MAX_NAME) for tick in ticks]
    names = max(map(page.text_width, labels)) + 0.12
    pixels = min(PANEL_PIXELS, CLASS_PIXELS * max(len(order), 8))
    side = max(1, round(pixels / len(order))) * len(order) / page.DPI
    left, bottom = page.MARGIN + names, page.MARGIN + names + LEGEND
    bar_space = BAR_WIDTH + BAR_LABELS + GAP / 2
    width = left + 3 * side + 2 * GAP + 2 * bar_space + 0.1
    height = bottom + side + TITLE
    figure = page.new_page(width, height)
    matrices.append(matrices[1] - matrices[0])
    limit = max(0.05, float(np.nanmax(np.abs(_off_diagonal(matrices[2])), initial=0)))
    scales = [('viridis', 0, 1), ('viridis', 0, 1), ('PuOr_r', -limit, limit)]
    titles = ('labels', 'predictions', 'predictions − labels')
    offset = left
    for number, (matrix, (colours, low, high)) in enumerate(zip(matrices, scales)):
        axes = page.add_axes(figure, offset, bottom, side, side)
        colours = colormaps[colours].with_extremes(bad=page.BLANK_COLOUR)
        scale = dict(vmin=low, vmax=high, interpolation='nearest')
        image = axes.imshow(_off_diagonal(matrix), colours, **scale)
        axes.set_xticks(ticks, labels, rotation=90, **page.TEXT)
        axes.set_yticks(ticks, labels if number == 0 else [], **page.TEXT)
        axes.tick_params(length=3, pad=3)
        axes.set_title(titles[number], pad=6, **page.TEXT)
        offset += side + GAP
        if number:
            bar_axes = page.add_axes(figure, offset - GAP / 2, bottom, BAR_WIDTH, side)
            bar = figure.colorbar(image, cax=bar_axes)
            bar.ax.tick_params(**page.TICKS)
            offset += bar_space
    note = '' if step == 1 else f'; one class in {step} is named'
    blank = _off_diagonal(matrices[2])
    rest = np.isnan(blank).sum() > len(order)
    note += '; grey: a class with itself' + ', or no image to count' * bool(rest)
    caption = f'share of the images with the row’s class that have the column’s, too{note}'
    figure.text(page.MARGIN / width, 1 - 0.1 / height, caption, va='top', **page.TEXT)
    return figure


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """A copy with NaN on the diagonal."""
    matrix = matrix.copy()
    np.fill_diagonal(matrix, np.nan)
    return matrix
