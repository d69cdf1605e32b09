"""What all figures share: measures, colours, and text that fits its place. Lengths in inches."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .fonts import ATTACHED, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
# letters that change the direction of those after them
TURNS = ('LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI')  # Unicode's names for them
LONGEST = 500  # characters, of which the first that fit a line are looked for
MARGIN = 0.15
FONT_SIZE = 10  # points
PLAIN_COLOUR = '#24292f'  # of text
NEUTRAL_COLOUR, TRUE_COLOUR = '#0969da', '#1a7f37'
FALSE_COLOUR, MISSED_COLOUR = '#cf222e', '#9a5b00'
BLANK_COLOUR, OTHER_COLOUR = '#9aa4ae', '#c3c8ce'  # of a cell without a value, of other classes
# Okabe and Ito's first, which colour-blind readers tell apart, then what differs most from those
# before; what takes one of the second half has another dash or shape as well
COLOURS = (
    '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#8A7A00', '#4B0082',
    '#5B3A1E', '#B5179E', '#7FDB6A', '#A50026', '#9B5DE5', '#003F5C', '#D81B60', '#FF9DA7',
)  # fmt: skip
HALF = len(COLOURS) // 2
BETTER_COLOUR, WORSE_COLOUR = COLOURS[:2]

TEXT = dict(fontsize=FONT_SIZE, color=PLAIN_COLOUR, parse_math=False)
TICKS = dict(labelsize=FONT_SIZE, labelcolor=PLAIN_COLOUR)
LEGEND = dict(loc='upper left', borderaxespad=0, frameon=False)  # to the right of the axes


def new_page(width: float, height: float) -> 'Figure':
    """A white figure of that size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: 'Figure', left: float, bottom: float, width: float, height: float) -> 'Axes':
    """Axes at a place of the page, from its lower left corner."""
    page_width, page_height = figure.get_size_inches()
    box = (left / page_width, bottom / page_height, width / page_width, height / page_height)
    return figure.add_axes(box)


def text_width(text: str) -> float:
    """Inches that a line takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=FONT_SIZE)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fit_text(
    name: str, width: float, ending: str = '', measure: Callable[[str], float] = text_width
) -> str:
    """The name and its ending in one line, the name without its middle if they are wider than that.

    Names that begin alike, as 'dress: long sleeves' and 'dress: long skirt', stay apart.
    """
    half = LONGEST // 2  # a name from a file may have a million characters
    text = readable(one_line(name if len(name) <= LONGEST else name[:half] + name[-half:]))
    if max(len(name), len(text)) > LONGEST or measure(text + ending) > width:
        half = min(LONGEST, len(text)) // 2
        start, end = text[:half], text[-half:]
        while start + end and measure(f'{start}…{end}{ending}') > width:
            start, end = (start[:-1], end) if len(start) > len(end) else (start, end[1:])
        while end and unicodedata.category(end[0]) in ATTACHED:  # to what is cut away
            end = end[1:]
        text = f'{start.rstrip()}…{end.lstrip()}'
    return (left_to_right(text) if ending else text) + ending


def legend_label(name: str, width: float, ending: str = '') -> str:
    """:func:`fit_text` as matplotlib's legends show it, whatever the name.

    They leave out a label that is empty or starts with '_', and set mathematics between two '$'.
    """
    text = fit_text(name, width, ending).replace('$', r'\$')
    return text if text and text[0] != '_' else f'\u200e{text}'  # which takes no room


def one_line(name: str) -> str:
    """Without control characters, those that turn the direction of what follows, and line ends."""
    letters = (letter for letter in name if letter.isspace() or not _is_control(letter))
    return ' '.join(''.join(letters).split())


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) == 'Cc' or unicodedata.bidirectional(letter) in TURNS


def left_to_right(name: str) -> str:
    """Between marks (U+200E) if it is written from right to left, so that what follows is not."""
    is_right_to_left = any(unicodedata.bidirectional(letter) in ('R', 'AL') for letter in name)
    return f'\u200e{name}\u200e' if is_right_to_left else name


def trim_right(figure: 'Figure', axes: 'Axes') -> None:
    """Make the page as wide as the axes and the legend to their right need; all else stays."""
    renderer = figure.canvas.get_renderer()
    ends = [axes.get_window_extent(renderer).x1, axes.get_legend().get_window_extent(renderer).x1]
    old, height = figure.get_size_inches()
    width = max(ends) / DPI + MARGIN
    figure.set_size_inches(width, height)
    for one in figure.axes:
        box = one.get_position()
        one.set_position((box.x0 * old / width, box.y0, box.width * old / width, box.height))


def picture_of(figure: 'Figure') -> Image.Image:
    """A figure as pixels, RGB; it must have an Agg canvas."""
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')


def stack_pages(pages: Sequence[Image.Image]) -> Image.Image:
    """One white page of several, RGB, one below the other."""
    size = max(page.width for page in pages), sum(page.height for page in pages)
    sheet, top = Image.new('RGB', size, 'white'), 0
    for page in pages:
        sheet.paste(page, (0, top))
        top += page.height
    return sheet
