"""What all figures share: the page's measures, and text that fits its place. Lengths in inches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
MARGIN = 0.15
FONT_SIZE = 10  # points
PLAIN_COLOUR = '#24292f'


def text_width(text: str) -> float:
    """Inches that a line takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=FONT_SIZE)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fit_text(name: str, width: float, ending: str = '') -> str:
    """The name and its ending, the name cut at the end if the two are wider than that."""
    if text_width(name + ending) <= width:
        return name + ending
    while name and text_width(f'{name}…{ending}') > width:
        name = name[:-1]
    return f'{name.rstrip()}…{ending}'


def fit_ends(name: str, width: float) -> str:
    """The name, cut in its middle if it is wider: names of files differ at their ends."""
    text, kept = name, len(name)
    while kept and text_width(text) > width:
        kept -= 1
        head = kept // 3
        text = f'{name[:head]}…{name[len(name) - kept + head :]}'
    return text


def trim_right(figure: Figure, axes: Axes) -> None:
    """Make the page as wide as the axes and the legend to their right need; heights stay."""
    renderer = figure.canvas.get_renderer()
    ends = [axes.get_window_extent(renderer).x1, axes.get_legend().get_window_extent(renderer).x1]
    old, height = figure.get_size_inches()
    width = max(ends) / DPI + MARGIN
    box = axes.get_position()
    figure.set_size_inches(width, height)
    axes.set_position((box.x0 * old / width, box.y0, box.width * old / width, box.height))
