"""Average precision of each class in two runs, side by side. C classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlic.names import counted

from . import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BARS = 40
ROW, BARS_WIDTH, STRIP_HEIGHT, TITLE, AXIS = 0.21, 5.0, 1.5, 0.9, 0.5  # inches
MAX_NAME = 1.8
HEADING, HEADING_SIZE = 'class (positives)', 8  # points


def choose_bars(difference: np.ndarray, max_bars: int = MAX_BARS) -> tuple[np.ndarray, np.ndarray]:
    """The classes by their difference (C,), the largest first, and those of them that get a bar.

    A class left out of mAP (NaN) is in neither. Of more than ``max_bars`` classes the first and
    the last ``max_bars / 2`` get one.
    """
    order = np.argsort(-difference, kind='stable')[: int(np.isfinite(difference).sum())]
    if len(order) <= max_bars:
        return order, order
    half = max_bars // 2
    return order, np.concatenate([order[:half], order[-half:]])


def draw_comparison(
    first: np.ndarray,
    second: np.ndarray,
    support: np.ndarray,
    class_names: Sequence[str],
    run_names: Sequence[str] = ('first', 'second'),
    sort_by: np.ndarray | None = None,
) -> 'Figure':
    """Draw what the second run gains or loses in each class, sorted.

    Of more than 40 classes, a strip shows all of them, and bars with names the 20 largest gains
    and the 20 largest losses.

    Args:
        first (np.ndarray): (C,) average precision in percent, NaN for a class left out of mAP.
        second (np.ndarray): (C,) the same of the other run.
        support (np.ndarray): (C,) positives.
        class_names (Sequence[str]): C names.
        run_names (Sequence[str]): Of both runs. Defaults to ('first', 'second').
        sort_by (np.ndarray, optional): (C,) what the classes are sorted by and chosen by, so that
            several figures have one order. Defaults to None: the gain.

    Returns:
        Figure: About 900 px wide at 100 dpi.

    Raises:
        ValueError: If sizes differ, or no class has positives.
    """
    if not len(first) == len(second) == len(support) == len(class_names):
        sizes = f'{len(first)}, {len(second)}, {len(support)} and {len(class_names)}'
        raise ValueError(f'both runs, support and names must have one length, got {sizes}')
    difference = second - first
    order, shown = choose_bars(difference if sort_by is None else sort_by)
    if not len(order):
        raise ValueError('no class has positives: nothing to compare')
    labels = [page.fit_text(class_names[c], MAX_NAME, f' ({support[c]})') for c in shown]
    numbers = [f'{first[c]:.1f} → {second[c]:.1f}' for c in shown]
    # the names, and the heading above them in smaller letters
    names = max(map(page.text_width, labels)) + 0.15
    left = page.MARGIN + max(names, page.text_width(HEADING) * HEADING_SIZE / page.FONT_SIZE + 0.1)
    right = max(map(page.text_width, numbers)) + 0.3
    has_strip = len(shown) < len(order)
    rows = np.arange(len(shown))
    between = len(shown) / 2  # the row that says what is left out there
    if has_strip:
        rows[rows >= between] += 1
    end = rows[-1] + 1
    bars = end * ROW
    width = left + BARS_WIDTH + right
    height = TITLE + bars + AXIS + (STRIP_HEIGHT + 0.55 if has_strip else 0)
    figure = page.new_page(width, height)
    _write_heading(figure, first, second, run_names)
    axes = page.add_axes(figure, left, AXIS, BARS_WIDTH, bars)
    axes.barh(rows, difference[shown], 0.74, color=_colours(difference[shown]))
    axes.set_yticks(rows, labels, **page.TEXT)
    axes.set_ylim(end - 0.4, -0.6)
    heads = dict(va='bottom', transform=axes.transAxes, **{**page.TEXT, 'fontsize': HEADING_SIZE})
    axes.text(-0.012, 1, HEADING, ha='right', **heads)
    axes.text(1 + 0.1 / BARS_WIDTH, 1, 'AP', **heads)
    for row, number in zip(rows, numbers):
        place = (1 + 0.1 / BARS_WIDTH, row)
        axes.text(*place, number, va='center', transform=axes.get_yaxis_transform(), **page.TEXT)
    if has_strip:
        axes.axhline(between, color='#9aa4ae', linewidth=0.8, linestyle=(0, (4, 3)))
        hidden = f'{counted(len(order) - len(shown), "class")} between'
        place = dict(ha='right', va='center', fontsize=8, color='#6b7280', backgroundcolor='white')
        axes.text(0.99, between, hidden, transform=axes.get_yaxis_transform(), **place)
        strip = page.add_axes(figure, left, AXIS + bars + 0.45, BARS_WIDTH, STRIP_HEIGHT)
        strip.bar(np.arange(len(order)), difference[order], 1, color=_colours(difference[order]))
        strip.set_xlim(-0.5, len(order) - 0.5)
        how = 'sorted' if sort_by is None else 'sorted by the mean over runs'
        strip.set_xlabel(f'all {len(order)} classes, {how}', labelpad=2, **page.TEXT)
        strip.set_xticks([])
        strip.tick_params(**page.TICKS)
        strip.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.set_xlabel('difference of average precision, in points', labelpad=2, **page.TEXT)
    axes.axvline(0, color=page.PLAIN_COLOUR, linewidth=0.8)
    axes.grid(axis='x', color='#d8dee4', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis='x', **page.TICKS)
    axes.tick_params(axis='y', length=0)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    return figure


def _write_heading(
    figure: 'Figure', first: np.ndarray, second: np.ndarray, run_names: Sequence[str]
) -> None:
    """A line for each run, with its mAP, and one that says what the colours mean."""
    width, height = figure.get_size_inches()

    def write(row: int, left: float, text: str, colour: str = page.PLAIN_COLOUR) -> float:
        place = left / width, 1 - (0.12 + 0.22 * row) / height
        figure.text(*place, text, va='top', **{**page.TEXT, 'color': colour})
        return left + page.text_width(text)

    for row, (name, ap) in enumerate(zip(run_names, (first, second))):
        number = f'mAP {np.nanmean(ap):.1f}  '
        name = page.fit_text(name, width - 2 * page.MARGIN - page.text_width(number))
        write(row, page.MARGIN, number + name)
    better, worse = _count_changes(second - first)
    left = write(2, page.MARGIN, f'{counted(better, "class")} better  ', page.BETTER_COLOUR)
    write(2, left, f'{worse} worse', page.WORSE_COLOUR)


def _count_changes(difference: np.ndarray) -> tuple[int, int]:
    """How many classes are better, and worse."""
    return int((difference > 0).sum()), int((difference < 0).sum())


def describe_comparison(first: np.ndarray, second: np.ndarray, run_names: Sequence[str]) -> str:
    """A line: both means, and how many classes are better and worse."""
    better, worse = _count_changes(second - first)
    means = [f'{name} {np.nanmean(ap):.1f}' for name, ap in zip(run_names, (first, second))]
    return f'mAP: {means[0]} → {means[1]};  {counted(better, "class")} better, {worse} worse'


def _colours(difference: np.ndarray) -> list[str]:
    """One for gains, one for losses."""
    return [page.BETTER_COLOUR if value >= 0 else page.WORSE_COLOUR for value in difference]
