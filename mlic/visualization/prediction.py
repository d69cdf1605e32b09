"""The picture of a prediction: the image, its labels and scores below, and their heat maps.

Lengths are in pixels; every image is scaled to a size at which the text can be read. matplotlib
is imported only when one is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MAX_SIDE, MIN_SIDE = 960, 456  # the longer side of an image is scaled into these
MIN_WIDTH, PANEL = 480, 224  # of the page, and of a heat map
MARGIN, GAP, PADDING, ROUND = 12, 8, 8, 6
FONT_SIZE, LINE = 18, 32
MAX_PANELS = 12
PAGE, PAPER, INK = (255, 255, 255), (246, 248, 250), (36, 41, 47)
BLUE, DEEPEST = (9, 105, 218), (121, 184, 255)  # the outline, and a fill that dark text stands on


def draw_prediction(
    image: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    attention: Tensor | None = None,
    empty: str = 'no label',
) -> Image.Image:
    """Draw an image, under it its labels with their scores, each above its heat map if it has one.

    The higher a score, the deeper the blue. A label that is wider than its place is cut.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB, of any size.
        names (Sequence[str]): Of the K predicted labels, in the order to show.
        scores (Sequence[float]): K, from 0 to 1.
        attention (Tensor, optional): (K, h, w), not negative; the first 12 are drawn.
            Defaults to None: no heat maps.
        empty (str): Text where there is no label.

    Returns:
        Image.Image: RGB, at least 480 px wide.
    """
    photo = _fit(Image.fromarray(np.ascontiguousarray(image)), MAX_SIDE, MIN_SIDE)
    abreast = 0 if attention is None else min(len(names), 3)
    heat_width = abreast * (PANEL + GAP) - GAP
    width = max(photo.width, heat_width, MIN_WIDTH - 2 * MARGIN) + 2 * MARGIN
    chips = [(name, f' {score:.2f}', score) for name, score in zip(names, scores)]
    panels = [] if attention is None else _heat_maps(photo, attention[:MAX_PANELS])
    columns = max(1, (width - 2 * MARGIN + GAP) // (PANEL + GAP))
    panel_height = max((panel.height for panel in panels), default=0) + LINE + 2 * GAP
    rows = -(-len(panels) // columns)
    others = chips[len(panels) :]  # labels without a heat map
    lines = _wrap(others, width - 2 * MARGIN) if others else []
    panel_top = photo.height + 2 * MARGIN
    text_top = panel_top + rows * panel_height
    height = text_top + (len(lines) if chips else 1) * (LINE + GAP) + MARGIN - GAP
    page = Image.new('RGB', (width, height), PAGE)
    page.paste(photo, ((width - photo.width) // 2, MARGIN))
    pen = ImageDraw.Draw(page)
    if not chips:
        text, _ = _cut(empty, '', width - 2 * MARGIN)
        pen.text((MARGIN, text_top + LINE // 2), text, INK, _font(), anchor='lm')
    for number, panel in enumerate(panels):
        left = MARGIN + number % columns * (PANEL + GAP)
        top = panel_top + number // columns * panel_height
        name, score_text, score = chips[number]
        _chip(pen, left, top, *_cut(name, score_text, PANEL - 2 * PADDING), score)
        page.paste(panel, (left, top + LINE + GAP))
    for number, line in enumerate(lines):
        left = MARGIN
        for name, score_text, score in line:
            left = _chip(pen, left, text_top + number * (LINE + GAP), name, score_text, score)
    return page


def _heat_maps(photo: Image.Image, attention: Tensor) -> list[Image.Image]:
    """The photo under each of the maps (K, h, w), small."""
    from .attention import overlay_attention

    pictures = [overlay_attention(np.asarray(photo), heat) for heat in attention]
    return [_fit(Image.fromarray(picture), PANEL, 0) for picture in pictures]


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """matplotlib's DejaVu Sans: Latin, Greek and Cyrillic, on every system."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
    return ImageFont.truetype(str(file), FONT_SIZE)


def _fit(photo: Image.Image, largest: int, smallest: int) -> Image.Image:
    """Scaled so that the longer side is from ``smallest`` to ``largest``."""
    side = max(photo.size)
    scale = min(max(side, smallest), largest) / side
    if scale == 1:
        return photo
    size = tuple(max(1, round(length * scale)) for length in photo.size)
    return photo.resize(size, Image.Resampling.BICUBIC)


def _cut(name: str, ending: str, width: float) -> tuple[str, str]:
    """The name, shortened until it and its ending fit; and the ending."""
    name = ' '.join(name.split())  # a line break would break the line
    if _font().getlength(name + ending) <= width:
        return name, ending
    while name and _font().getlength(f'{name}…{ending}') > width:
        name = name[:-1]
    return f'{name.rstrip()}…', ending


def _wrap(chips: list[tuple[str, str, float]], width: int) -> list[list[tuple]]:
    """Lines of labels that are no wider than the page."""
    lines: list[list[tuple]] = [[]]
    left = 0.0
    for name, score_text, score in chips:
        name, score_text = _cut(name, score_text, width - 2 * PADDING)
        taken = _font().getlength(name + score_text) + 2 * PADDING
        if lines[-1] and left + taken > width:
            lines.append([])
            left = 0.0
        lines[-1].append((name, score_text, score))
        left += taken + GAP
    return lines


def _chip(
    pen: ImageDraw.ImageDraw, left: float, top: int, name: str, score_text: str, score: float
) -> float:
    """Draw one label; returns where the next one starts."""
    right = left + _font().getlength(name + score_text) + 2 * PADDING
    strength = min(max(score, 0.0), 1.0) ** 2
    colour = tuple(round(a + strength * (b - a)) for a, b in zip(PAPER, DEEPEST))
    pen.rounded_rectangle((left, top, right, top + LINE), ROUND, colour, outline=BLUE)
    text = name + score_text
    pen.text((left + PADDING, top + LINE // 2), text, INK, _font(), anchor='lm')
    return right + GAP
