"""How a number changes mAP: a line for each family of configs whose names differ by the number."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, HEIGHT, LEFT, BOTTOM, TOP, LEGEND_WIDTH = 5.2, 3.6, 0.75, 0.8, 0.4, 3.7  # inches
MARKERS = 'osD^vP*'
ACROSS = ('dashed', 'dotted', 'dashdot', (0, (8, 2, 1, 2, 1, 2)))  # lines without a number
ENTRY = 0.21  # inches, of the legend
APART = 0.012  # of the width, so that intervals at one place can be told apart


class Result(NamedTuple):
    """What a config reached.

    Args:
        name (str): Of the config.
        scores (Sequence[float]): mAP in percent, one for each seed.
        difference (float, optional): Of mAP to the first config. Defaults to None.
        interval (tuple, optional): The 95 % interval of the difference. Defaults to None.
    """

    name: str
    scores: Sequence[float]
    difference: float | None = None
    interval: tuple | None = None


def split_name(name: str, word: str) -> tuple[str, float] | None:
    """The name without the number after the word's first place before one, and the number.

    None without such a number. ``('a_hidden10-b', 'hidden')`` gives ``('a_hidden-b', 10.0)``.
    """
    found = re.search(rf'{re.escape(word)}(\d+(?:\.\d+)?)', name)
    return found and (name[: found.start(1)] + name[found.end(1) :], float(found[1]))


def draw_sweep(results: Sequence[Result], word: str) -> 'Figure':
    """Draw mAP over the number after a word in the names of the configs.

    A config without the number is a dashed line across. Small dots are seeds, large ones their
    mean, bars the interval of the difference to the first config, placed around the mean.

    Raises:
        ValueError: If no name has such a number, or more lines have one than can be told apart.
    """
    lines, across = {}, []
    for result in results:
        found = split_name(result.name, word)
        if found:
            lines.setdefault(found[0], []).append((found[1], result))
        else:
            across.append(result)
    if not lines:
        raise ValueError(f'no config has {word!r} and a number in its name: {results[0].name}')
    if len(lines) > len(page.COLOURS):
        raise ValueError(f'at most {len(page.COLOURS)} lines can be told apart, got {len(lines)}')
    numbers = sorted({number for points in lines.values() for number, _ in points})
    width = (numbers[-1] - numbers[0] or 1) * APART
    high = max(HEIGHT, ENTRY * len([*lines, *across]))
    figure = page.new_page(LEFT + SIDE + LEGEND_WIDTH, BOTTOM + high + TOP)
    axes = page.add_axes(figure, LEFT, BOTTOM, SIDE, high)
    shift = common_start([*lines], [result.name for result in across])
    for row, result in enumerate(across):
        style = dict(linestyle=ACROSS[row % len(ACROSS)], linewidth=1.2 + row // len(ACROSS))
        label = page.legend_label(result.name, LEGEND_WIDTH - 0.7)
        axes.axhline(_mean(result), color=page.PLAIN_COLOUR, **style, label=label)
    for row, (name, points) in enumerate(lines.items()):
        colour = page.COLOURS[row]
        marker = MARKERS[row % len(MARKERS)]
        points.sort(key=lambda point: point[0])
        x = [number + (row - (len(lines) - 1) / 2) * width for number, _ in points]
        label = page.legend_label(name[shift:], LEGEND_WIDTH - 0.7)
        means = [_mean(result) for _, result in points]
        axes.plot(x, means, color=colour, marker=marker, markersize=6, linewidth=1.4, label=label)
        for place, (_, result) in zip(x, points):
            seeds = [place] * len(result.scores)
            axes.plot(seeds, result.scores, '.', color=colour, markersize=4, alpha=0.6)
            if result.interval is not None:
                ends = [_mean(result) + end - result.difference for end in result.interval]
                axes.vlines(place, *ends, color=colour, linewidth=1.4)
    axes.set_xticks(numbers, [f'{number:g}' for number in numbers])
    bars = any(result.interval is not None for points in lines.values() for _, result in points)
    dots = any(len(result.scores) > 1 for points in lines.values() for _, result in points)
    notes = ['small dots: seeds'] * dots
    notes += ['bars: 95 % interval of the gain on the first config'] * bars
    axes.set_xlabel(f'{page.fit_text(word, SIDE)}\n{"; ".join(notes)}'.rstrip(), **page.TEXT)
    axes.set_title('mAP, in percent', loc='left', pad=5, **page.TEXT)
    axes.grid(axis='y', color='#e3e7eb', linewidth=0.6)
    axes.tick_params(**page.TICKS)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(**page.LEGEND, bbox_to_anchor=(1.02, 1), fontsize=page.FONT_SIZE)
    page.trim_right(figure, axes)
    return figure


def _mean(result: Result) -> float:
    """mAP over seeds."""
    return sum(result.scores) / len(result.scores)


def common_start(names: Sequence[str], whole: Sequence[str] = ()) -> int:
    """How many characters to leave out of names: what all share, up to the end of a part.

    Parts are between '_'; the last of each name stays. Of a single name nothing is left out.

    Args:
        names (Sequence[str]): Names to shorten.
        whole (Sequence[str]): Names that share it, too, but are shown whole. Defaults to none.
    """
    if len(names) + len(whole) == 1:
        return 0
    starts = [*(name[:-1] for name in names), *(f'{name}_' for name in whole)]
    return os.path.commonprefix(starts).rfind('_') + 1
