from typing import NamedTuple

import pytest
from PIL import ImageDraw


class Written(NamedTuple):
    """A line of text and the pixels that it takes."""

    text: str
    box: tuple


@pytest.fixture
def written(monkeypatch):
    """The lines of text that Pillow draws, in order."""
    lines = []
    draw = ImageDraw.ImageDraw.text

    def spy(pen, xy, text, fill, font, anchor):
        lines.append(Written(text, pen.textbbox(xy, text, font=font, anchor=anchor)))
        draw(pen, xy, text, fill, font, anchor=anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', spy)
    return lines
