"""The picture of a prediction: the image, its labels and scores below, and their heat maps.

Lengths are in pixels; every image is scaled to a size at which the text can be read. matplotlib
is imported only when one is drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from . import fonts
from .page import (
    FALSE_COLOUR,
    LONGEST,
    MISSED_COLOUR,
    NEUTRAL_COLOUR,
    PLAIN_COLOUR,
    TRUE_COLOUR,
    fit_text,
    one_line,
)

MAX_SIDE, MIN_SIDE = 960, 456  # the longer side of an image is scaled into these
MIN_WIDTH, PANEL = 480, 224  # of the page, and of a heat map
MARGIN, GAP, PADDING, ROUND = 12, 8, 8, 6
FONT_SIZE, LINE = 18, 32
MAX_PANELS, MAX_COLUMNS = 12, 5
MAX_LABELS = 500  # each in a line of its own, they fit into a JPEG, which ends at 65,500 pixels
PAGE, PAPER, INK = (255, 255, 255), (246, 248, 250), ImageColor.getrgb(PLAIN_COLOUR)
# an outline, the fill at score 1 (dark text stands on it), and what is before the name
LOOKS = {
    'unknown': (NEUTRAL_COLOUR, (121, 184, 255), ''),
    'true': (TRUE_COLOUR, (134, 214, 149), '✓ '),
    'false': (FALSE_COLOUR, (255, 170, 163), '✗ '),
    'missed': (MISSED_COLOUR, (244, 190, 120), 'missed: '),
}


class Chip(NamedTuple):
    """A label with its score, and which of the looks it has."""

    name: str
    score: float
    look: str

    def text(self, width: float) -> str:
        """What is written on it, the name cut so that the whole is no wider than that."""
        before = LOOKS[self.look][2]
        return before + fit_text(self.name, width - _length(before), f' {self.score:.2f}', _length)


def draw_prediction(
    image: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    attention: Tensor | None = None,
    note: str = '',
    *,
    looks: Sequence[str] | None = None,
    title: str | None = None,
) -> Image.Image:
    """Draw an image, under it labels with their scores, each above its heat map if it has one.

    The higher a score, the deeper the colour. A label that is wider than its place is cut.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB, of any size.
        names (Sequence[str]): Of the K labels, in the order to show; the first 500 are drawn.
        scores (Sequence[float]): K, from 0 to 1.
        attention (Tensor, optional): (M, h, w), not negative: of the first M labels, of which at
            most 12 are drawn. Defaults to None: no heat maps.
        note (str): A line of text before the labels that have no heat map. Defaults to '': none,
            or 'no label' where there is none.
        looks (Sequence[str], optional): K of 'unknown' (blue), 'true' (green), 'false' (red) and
            'missed' (orange: true, but not predicted). Defaults to None: the truth is not known.
        title (str, optional): Of the image, which then is small, in one row with its heat maps.
            Defaults to None.

    Returns:
        Image.Image: RGB, at least 480 px wide.
    """
    photo = _fit(Image.fromarray(np.ascontiguousarray(image)), MAX_SIDE, MIN_SIDE)
    chips = [Chip(*chip) for chip in zip(names, scores, looks or ['unknown'] * len(names))]
    if len(chips) > MAX_LABELS:
        note = f'the first {MAX_LABELS} of {len(chips)} labels'
        del chips[MAX_LABELS:]
    note = note or ('' if chips else 'no label')
    panels = [] if attention is None else _heat_maps(photo, attention[:MAX_PANELS])
    others = chips[len(panels) :]  # labels without a heat map
    heads: list[Chip | str] = chips[: len(panels)]
    if title is not None:
        panels, heads = [_fit(photo, PANEL, PANEL), *panels], [title, *heads]
    abreast = min(len(panels), 3 if title is None else MAX_COLUMNS)
    width = max(abreast * (PANEL + GAP) - GAP, MIN_WIDTH - 2 * MARGIN)
    width = (width if title is not None else max(photo.width, width)) + 2 * MARGIN
    columns = max(1, (width - 2 * MARGIN + GAP) // (PANEL + GAP))
    panel_height = max((panel.height for panel in panels), default=0) + LINE + 2 * GAP
    lines = _wrap(others, width - 2 * MARGIN)
    panel_top = MARGIN if title is not None else photo.height + 2 * MARGIN
    text_top = panel_top + -(-len(panels) // columns) * panel_height
    height = text_top + (len(lines) + bool(note)) * (LINE + GAP) + MARGIN - GAP
    page = Image.new('RGB', (width, height), PAGE)
    pen = ImageDraw.Draw(page)
    if title is None:
        page.paste(photo, (MARGIN, MARGIN))
    for number, (panel, head) in enumerate(zip(panels, heads)):
        left = MARGIN + number % columns * (PANEL + GAP)
        top = panel_top + number // columns * panel_height
        if isinstance(head, Chip):
            _draw_chip(pen, left, top, head, PANEL)
        else:
            _write(pen, left, top, _cut_start(head, PANEL))
        page.paste(panel, (left, top + LINE + GAP))
    if note:
        _write(pen, MARGIN, text_top, fit_text(note, width - 2 * MARGIN, measure=_length))
        text_top += LINE + GAP
    for number, line in enumerate(lines):
        left = MARGIN
        for chip in line:
            left = _draw_chip(pen, left, text_top + number * (LINE + GAP), chip, width - 2 * MARGIN)
    return page


def _heat_maps(photo: Image.Image, attention: Tensor) -> list[Image.Image]:
    """The photo under each of the maps (K, h, w), small."""
    from .attention import overlay_attention

    pictures = [overlay_attention(np.asarray(photo), heat) for heat in attention]
    return [_fit(Image.fromarray(picture), PANEL, 0) for picture in pictures]


def _fit(photo: Image.Image, largest: int, smallest: int) -> Image.Image:
    """Scaled so that the longer side is from ``smallest`` to ``largest``."""
    side = max(photo.size)
    scale = min(max(side, smallest), largest) / side
    if scale == 1:
        return photo
    size = tuple(max(1, round(length * scale)) for length in photo.size)
    return photo.resize(size, Image.Resampling.BICUBIC)


def _cut_start(name: str, width: float) -> str:
    """The end of a name that is too wide: names of files differ at their ends."""
    text = name = one_line(name)[-LONGEST:]
    while name and _length(text) > width:
        name = name[1:]
        text = f'…{name}'
    return text


def _wrap(chips: list[Chip], width: int) -> list[list[Chip]]:
    """Lines of labels that are no wider than the page."""
    lines: list[list[Chip]] = []
    left = width + 1.0
    for chip in chips:
        taken = _length(chip.text(width - 2 * PADDING)) + 2 * PADDING
        if left + taken > width:
            lines.append([])
            left = 0.0
        lines[-1].append(chip)
        left += taken + GAP
    return lines


def _draw_chip(pen: ImageDraw.ImageDraw, left: float, top: int, chip: Chip, width: int) -> float:
    """Draw one label, no wider than that; returns where the next one starts."""
    text = chip.text(width - 2 * PADDING)
    right = left + _length(text) + 2 * PADDING
    outline, deepest, _ = LOOKS[chip.look]
    strength = min(max(chip.score, 0.0), 1.0) ** 2
    fill = tuple(round(a + strength * (b - a)) for a, b in zip(PAPER, deepest))
    pen.rounded_rectangle((left, top, right, top + LINE), ROUND, fill, outline=outline)
    _write(pen, left + PADDING, top, text)
    return right + GAP


def _write(pen: ImageDraw.ImageDraw, left: float, top: int, text: str) -> None:
    """A line of text."""
    fonts.draw_line(pen, left, top + LINE // 2, text, INK, FONT_SIZE)


def _length(text: str) -> float:
    """Pixels that a line of text takes."""
    return fonts.text_length(text, FONT_SIZE)
