"""Names in any script: DejaVu Sans, and a font of the system for each character that it lacks."""

import functools
import logging
import unicodedata
from pathlib import Path

from mmengine.logging import print_log
from PIL import ImageDraw, ImageFont

ATTACHED = ('Cf', 'Mc', 'Me', 'Mn')  # Unicode's categories of what changes the character before
_warned: set[str] = set()  # scripts


def readable(text: str) -> str:
    """The text as pictures can show it: each character that no font has is its code, as [65E5].

    What is invisible by itself, such as the joiner of two emoji, is left out behind such a one. A
    warning says once for each script how to install a font. From here on, matplotlib's figures find
    the others in the fonts of the system as well.
    """
    fonts = _fonts_of(text)
    for character, font in zip(text, fonts):
        if font is None and not _is_invisible(character):
            _warn(_script(character), character)
    for font in set(fonts) - {None, _default()}:
        _let_matplotlib_use(font)
    return ''.join(
        character if font else '' if _is_invisible(character) else f'[{ord(character):04X}]'
        for character, font in zip(text, fonts)
    )


def _is_invisible(character: str) -> bool:
    """A joiner, or what chooses between the looks of the character before."""
    return unicodedata.category(character) == 'Cf' or '\ufe00' <= character <= '\ufe0f'


def text_length(text: str, size: int) -> float:
    """Pixels that a line takes, at a font size in pixels."""
    return sum(_open(font, size).getlength(part) for font, part in _parts(text))


def draw_line(
    pen: ImageDraw.ImageDraw, left: float, middle: float, text: str, ink: tuple, size: int
) -> None:
    """Draw a line, at a font size in pixels."""
    ascent, descent = _open(_default(), size).getmetrics()
    for font, part in _parts(text):
        pen.text((left, middle + (ascent - descent) / 2), part, ink, _open(font, size), anchor='ls')
        left += _open(font, size).getlength(part)


def _parts(text: str) -> list[tuple[str, str]]:
    """(font file, text) of the stretches of a line that one font can write."""
    text = readable(text)
    parts: list[tuple[str, str]] = []
    for character, font in zip(text, _fonts_of(text)):
        if parts and parts[-1][0] == font:
            parts[-1] = font, parts[-1][1] + character
        else:
            parts.append((font, character))
    return parts


def _fonts_of(text: str) -> list[str | None]:
    """The font file of each character; one that belongs to the character before has its font."""
    fonts: list[str | None] = []
    for character in text:
        attached = fonts and unicodedata.category(character) in ATTACHED
        fonts.append(fonts[-1] if attached else _font_of(character))
    return fonts


@functools.cache
def _font_of(character: str) -> str | None:
    """The first font file that has a glyph for it."""
    if ord(character) in _code_points(_default()) or not character.strip():
        return _default()
    return next((file for file in _system_fonts() if ord(character) in _code_points(file)), None)


@functools.cache
def _default() -> str:
    """matplotlib's DejaVu Sans: Latin, Greek and Cyrillic, on every system."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf')


@functools.cache
def _system_fonts() -> list[str]:
    """Font files of the system, upright ones without serifs first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(file: str) -> tuple:
        name = Path(file).stem.lower()
        return (
            'serif' in name or 'mono' in name,
            'sans' not in name,
            any(style in name for style in ('bold', 'italic', 'oblique', 'black', 'light', 'thin')),
            file,
        )

    return sorted(findSystemFonts(), key=rank)


@functools.cache
def _code_points(file: str) -> frozenset[int]:
    """The characters that a font has; none if it cannot be drawn at any size."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # damaged, or in a form that FreeType does not read
        return frozenset()


@functools.cache
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@functools.cache
def _let_matplotlib_use(file: str) -> None:
    """Put a font at the end of those that matplotlib looks through for a character."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, fontManager

    fontManager.addfont(file)
    name = FontProperties(fname=file).get_name()
    rcParams['font.family'] = [*rcParams['font.family'], name]


def _script(character: str) -> str:
    """As Unicode's name of a letter begins with it: CJK, ARABIC."""
    is_picture = unicodedata.category(character) == 'So'
    return 'emoji' if is_picture else unicodedata.name(character, 'UNNAMED').split()[0]


def _warn(script: str, example: str) -> None:
    """Say once for each script that no font has it."""
    if script not in _warned:
        _warned.add(script)
        print_log(
            f'no font of this system has {script} characters such as {example}: pictures show '
            f'their codes instead, here [{ord(example):04X}]. Install a font that has them: on '
            'Debian and Ubuntu fonts-noto-cjk for Chinese, Japanese and Korean, fonts-symbola '
            'for emoji, fonts-noto-core for most others',
            'current',
            level=logging.WARNING,
        )
