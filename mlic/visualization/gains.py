"""What configs gain over another as something is varied: a panel for each thing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import page
from .sweep import MARKERS, common_start

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, HEIGHT, LEFT, BOTTOM, TOP, GAP, LEGEND_WIDTH = 2.9, 3.0, 0.85, 1.0, 0.4, 0.35, 3.7  # inches
APART = 0.14  # of the distance of two values, so that intervals at one place can be told apart


class Gain(NamedTuple):
    """The difference of mAP of two configs at a value of what is varied, in percent.

    Args:
        config (str): Whose gain it is.
        number (float): The value.
        seeds (Sequence[float]): The difference of each seed.
        interval (tuple): Its 95 % interval.
        base (float): mAP of the other config, mean over its seeds.
    """

    config: str
    number: float
    seeds: Sequence[float]
    interval: tuple
    base: float


def draw_gains(panels: dict[str, Sequence[Gain]]) -> 'Figure':
    """Draw the gains over what is varied; the values stand at equal distances.

    Small dots are seeds, large ones their mean, bars the 95 % interval. Below a value stands the
    mAP of what is compared with.

    Raises:
        ValueError: If there is no gain at all.
    """
    configs = list(dict.fromkeys(gain.config for gains in panels.values() for gain in gains))
    if not configs:
        raise ValueError(f'no two runs to compare over {", ".join(panels)}')
    width = LEFT + len(panels) * (SIDE + GAP)
    legend = LEGEND_WIDTH if len(configs) > 1 else 0  # one config is in the title
    figure = page.new_page(width + legend, BOTTOM + HEIGHT + TOP)
    shift = common_start(configs)
    for column, (word, gains) in enumerate(panels.items()):
        axes = page.add_axes(figure, LEFT + column * (SIDE + GAP), BOTTOM, SIDE, HEIGHT)
        if column:
            axes.sharey(figure.axes[0])
            axes.tick_params(labelleft=False)
        numbers = {gain.number: gain.base for gain in gains}
        places = {number: place for place, number in enumerate(numbers)}
        axes.axhline(0, color=page.PLAIN_COLOUR, linewidth=0.8)
        for row, config in enumerate(configs):
            look = dict(color=page.COLOURS[row % len(page.COLOURS)])
            own = [gain for gain in gains if gain.config == config]
            x = [places[gain.number] + (row - (len(configs) - 1) / 2) * APART for gain in own]
            means = [sum(gain.seeds) / len(gain.seeds) for gain in own]
            marker = dict(marker=MARKERS[row % len(MARKERS)], markersize=6, linewidth=1.4)
            label = page.legend_label(config[shift:], LEGEND_WIDTH - 0.7)
            axes.plot(x, means, label=label, **marker, **look)
            for place, gain in zip(x, own):
                dots = [place] * len(gain.seeds)
                axes.plot(dots, gain.seeds, '.', markersize=4, alpha=0.6, **look)
                axes.vlines(place, *gain.interval, linewidth=1.4, **look)
        labels = [f'{number:g}\n{base:.1f}' for number, base in numbers.items()]
        axes.set_xticks(list(places.values()), labels)
        axes.set_xlim(-0.5, len(places) - 0.5)
        word = page.fit_text(word, SIDE)
        axes.set_xlabel(f'{word}\nand the mAP compared with', **page.TEXT)
        axes.grid(axis='y', color='#e3e7eb', linewidth=0.6)
        axes.tick_params(**page.TICKS)
        axes.spines[['top', 'right']].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel('gain of mAP in points', **page.TEXT)
    if len(configs) == 1:
        title = page.fit_text(configs[0], width - 0.2)
        first.set_title(title, loc='left', x=(0.1 - LEFT) / SIDE, pad=8, **page.TEXT)
    else:
        axes.legend(**page.LEGEND, bbox_to_anchor=(1.02, 1), fontsize=page.FONT_SIZE)
        page.trim_right(figure, axes)
    return figure
