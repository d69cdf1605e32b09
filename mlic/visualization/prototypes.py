"""Class prototypes as a picture: which classes lie close to each other.

Shapes in this module: C classes, D embed dims. Lengths of the page are in inches.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mlic.files import write_csv

from . import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRIX_PIXELS = 760  # about; a class takes a whole number of pixels
MAX_TICKS = 40  # names of 10 points next to this many rows do not touch
MAX_CLASSES = 4000  # a picture of as many pixels a side; it takes 3 GB
MAX_TURNED = 2000  # classes, within 20 seconds; the time grows with the third power
MAX_NAME = 1.6
TITLE_SPACE, TICK_SPACE = 0.4, 0.12
BAR_GAP, BAR_WIDTH, BAR_LABELS = 0.2, 0.18, 0.5


def cosine_matrix(vectors: Tensor) -> Tensor:
    """Cosines of all pairs of vectors (C, D): (C, C), float64, from -1 to 1.

    The rows and columns of zero vectors are NaN.

    Raises:
        ValueError: If the vectors are no matrix, or not finite.
    """
    if vectors.ndim != 2:
        raise ValueError(f'prototypes must be (C, D), got {tuple(vectors.shape)}')
    if not vectors.isfinite().all():
        raise ValueError('the prototypes hold values that are not finite')
    vectors = vectors.detach().cpu().double()
    # the largest entry first: the square of a very small one would be zero
    unit = F.normalize(F.normalize(vectors, p=math.inf, eps=0), eps=0)  # zero → NaN
    return (unit @ unit.T).clamp(-1, 1)


def off_diagonal(cosines: Tensor) -> Tensor:
    """The cosines (C, C) of two different vectors, without NaN, in one dimension."""
    values = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    return values[~values.isnan()]


def cluster_order(cosines: Tensor) -> list[int]:
    """A permutation of the C classes of ``cosines`` (C, C) in which similar ones are neighbours.

    It is that of the leaves of a dendrogram (average linkage of 1 - cosine), turned so that the
    sum of the distances of neighbours is the least (Bar-Joseph et al., Bioinformatics 2001): of
    more than 2000 classes it is not turned. Classes whose diagonal is NaN come last.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    blank = cosines.diagonal().isnan()
    shown, last = (~blank).nonzero()[:, 0], blank.nonzero()[:, 0]
    if len(shown) > 2:
        distances = (1 - cosines[shown][:, shown]).clamp(min=0).fill_diagonal_(0).numpy()
        condensed = squareform(distances, checks=False)
        turned = len(shown) <= MAX_TURNED
        leaves = leaves_list(linkage(condensed, 'average', optimal_ordering=turned))
        shown = shown[torch.from_numpy(leaves).long()]
    return shown.tolist() + last.tolist()


def draw_prototypes(
    cosines: Tensor,
    class_names: Sequence[str],
    order: Sequence[int] | None = None,
    *,
    subject: str = 'prototypes',
) -> 'Figure':
    """Draw the matrix of the prototypes' cosines, with the classes' names on both axes.

    The colours span the cosines of different classes; where some are negative, white is zero.
    The diagonal may lie beyond them. Of more than 40 classes, only every k-th is named. Classes
    with NaN are grey.

    Args:
        cosines (Tensor): (C, C), as from :func:`cosine_matrix`.
        class_names (Sequence[str]): C names.
        order (Sequence[int], optional): Classes from top to bottom. Defaults to None: as given.
        subject (str): What has these cosines, for the title. Defaults to 'prototypes'.

    Returns:
        Figure: About 1000 px wide at 100 dpi.

    Raises:
        ValueError: If there is no class, or a number of classes differs.
    """
    from matplotlib import colormaps

    order = list(range(len(cosines)) if order is None else order)
    if len(cosines) == 0:
        raise ValueError('no classes to draw: got 0')
    if len(class_names) != len(cosines):
        raise ValueError(f'{len(cosines)} prototypes, but {len(class_names)} class names')
    if sorted(order) != list(range(len(cosines))):
        raise ValueError(f'order must be a permutation of {len(cosines)} classes, got {order}')
    step = math.ceil(len(order) / MAX_TICKS)
    ticks = range(0, len(order), step)
    labels = [page.fit_text(class_names[order[tick]], MAX_NAME) for tick in ticks]
    names = max(map(page.text_width, labels)) + TICK_SPACE
    side = max(1, round(MATRIX_PIXELS / len(order))) * len(order) / page.DPI
    zero = int(cosines.diagonal().isnan().sum())
    notes = [f'one class in {step} is named'] * (step > 1) + ['grey: zero, no cosine'] * (zero > 0)
    note = '; '.join(notes)
    left, bottom = page.MARGIN + names, page.MARGIN + names + (0.25 if note else 0)
    width = left + side + BAR_GAP + BAR_WIDTH + BAR_LABELS + page.MARGIN
    height = bottom + side + TITLE_SPACE
    figure = page.new_page(width, height)
    axes = page.add_axes(figure, left, bottom, side, side)
    low, high, colours = _scale(off_diagonal(cosines))
    colours = colormaps[colours].with_extremes(bad=page.BLANK_COLOUR)
    matrix = cosines[order][:, order].numpy()
    image = axes.imshow(matrix, colours, interpolation='nearest', vmin=low, vmax=high)
    axes.set_xticks(ticks, labels, rotation=90, **page.TEXT)
    axes.set_yticks(ticks, labels, **page.TEXT)
    axes.tick_params(length=3, pad=3)
    axes.set_xlabel(note, **page.TEXT)
    axes.set_title(describe(cosines, subject), pad=8, **page.TEXT)
    bar_axes = page.add_axes(figure, left + side + BAR_GAP, bottom, BAR_WIDTH, side)
    extend = 'max' if high < 1 else 'neither'
    bar = figure.colorbar(image, cax=bar_axes, extend=extend, extendfrac=0.03)
    bar.ax.tick_params(**page.TICKS)
    return figure


def describe(cosines: Tensor, subject: str = 'prototypes') -> str:
    """A line: the mean and the highest cosine of different classes, and how many are zero."""
    values, zero = off_diagonal(cosines), int(cosines.diagonal().isnan().sum())
    line = f'cosines of {len(cosines)} {subject}, {zero or "none"} of them zero; off the diagonal: '
    if not len(values):
        return line + 'none'
    return line + f'mean {values.mean():.3f}, max {values.max():.3f}'


def _scale(values: Tensor) -> tuple[float, float, str]:
    """Lowest and highest colour, in steps of 0.05, and the colour map's name."""
    if not len(values):
        return 0.0, 1.0, 'viridis'
    low, high = math.floor(float(values.min()) * 20) / 20, math.ceil(float(values.max()) * 20) / 20
    if low < 0:
        high = max(-low, high)
        return -high, high, 'RdBu_r'
    return (low, high, 'viridis') if low < high else (low - 0.05, high, 'viridis')


def write_table(path: Path, cosines: Tensor, names: Sequence[str], order: Sequence[int]) -> None:
    """The matrix with names in the first row and column, in the picture's order; NaN is empty."""
    rows = [['class', *(names[label] for label in order)]]
    for label in order:
        row = cosines[label, order].tolist()
        rows.append([names[label], *('' if value != value else f'{value:.6f}' for value in row)])
    write_csv(path, rows)
