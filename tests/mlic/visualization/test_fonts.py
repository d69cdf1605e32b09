"""Names in any script: their glyphs where the system has a font, their codes where it has none."""

import logging

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.text import Text

from mlic.visualization import fonts, page
from mlic.visualization.embedding import draw_embeddings
from mlic.visualization.prediction import draw_prediction

IMAGE = np.zeros((60, 80, 3), np.uint8)
CACHES = (fonts._font_of, fonts._system_fonts, fonts._code_points, fonts._let_matplotlib_use)


def make_font(path, characters):
    """A font with a square for each character, of different widths."""
    names = {ord(character): f'glyph{number}' for number, character in enumerate(characters)}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(['.notdef', *names.values()])
    builder.setupCharacterMap(names)
    glyphs = {}
    for number, name in enumerate(['.notdef', *names.values()]):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 700), (300 + 100 * number, 700), (300 + 100 * number, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (900, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable(dict(familyName='Squares', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def system_fonts(monkeypatch):
    """A list that stands for the font files of the system."""
    files = []
    for cache in CACHES:
        cache.cache_clear()
    monkeypatch.setattr('matplotlib.font_manager.findSystemFonts', lambda: files)
    monkeypatch.setattr(fonts, '_warned', set())
    # without what a test before found on this system
    with matplotlib.rc_context({'font.family': matplotlib.rcParamsDefault['font.family']}):
        yield files
    for cache in CACHES:
        cache.cache_clear()


def picture(name):
    return np.asarray(draw_prediction(IMAGE, [name], [0.9]))


def test_a_character_without_a_font_is_shown_as_its_code(system_fonts, caplog):
    assert fonts.readable('a 日本') == 'a [65E5][672C]'
    assert fonts.readable('🦀\ufe0f\u200d日') == '[1F980][65E5]'
    assert np.array_equal(picture('日本'), picture('[65E5][672C]'))
    assert not np.array_equal(picture('日本'), picture('猫犬'))


@pytest.mark.parametrize('name', ['\u202ecat', 'c\x07at', '\tcat\n', 'cat\u2067'])
def test_no_character_of_a_name_turns_its_score_round(name):
    assert np.array_equal(picture(name), picture('cat'))
    drawn = draw_prediction(IMAGE, [], [], note=f'the best is {name}', title=name)
    assert drawn == draw_prediction(IMAGE, [], [], note='the best is cat', title='cat')


def test_each_script_without_a_font_is_said_once(system_fonts, monkeypatch):
    said = []
    monkeypatch.setattr(fonts, 'print_log', lambda text, *_, level: said.append((text, level)))
    for name in ('日本', '猫', 'ไทย', '🚤', '🦀', 'cat'):
        picture(name)
    assert len(said) == 3 and {level for _, level in said} == {logging.WARNING}
    assert 'CJK characters such as 日' in said[0][0] and 'fonts-noto-cjk' in said[0][0]
    assert 'THAI' in said[1][0] and 'emoji characters such as 🚤' in said[2][0]


def test_the_font_of_the_system_that_has_a_character_is_used(system_fonts, tmp_path):
    damaged = tmp_path / 'aaa_sans.ttf'
    damaged.write_bytes(b'no font')
    squares = make_font(tmp_path / 'squares.ttf', '日本')
    system_fonts += [str(damaged), squares]
    assert fonts.readable('a 日本 ไ') == 'a 日本 [0E44]'
    assert fonts._parts('a日本b') == [
        (fonts._default(), 'a'),
        (squares, '日本'),
        (fonts._default(), 'b'),
    ]
    one, two = (fonts.text_length(text, 20) for text in ('日', '日本'))
    assert two == 2 * one == 36  # 900 of 1000 units of 20 pixels
    assert not np.array_equal(picture('日'), picture('本'))


def test_figures_of_matplotlib_find_it_too(system_fonts, tmp_path, recwarn):
    system_fonts.append(make_font(tmp_path / 'squares.ttf', '日本'))
    width = page.text_width(fonts.readable('日本'))
    assert width == pytest.approx(2 * 0.9 * page.FONT_SIZE / 72, rel=0.1)
    names = ['日本', 'ไทย', 'cat']
    figure = draw_embeddings(
        np.random.default_rng(0).normal(size=(30, 2)),
        np.arange(30) % 3,
        np.full((3, 2), np.nan),
        names,
        names,
    )
    figure.canvas.draw()
    texts = ''.join(text.get_text() for text in figure.findobj(Text))
    assert '日本' in texts and '[0E44]' in texts
    assert not [str(one.message) for one in recwarn if 'Glyph' in str(one.message)]


def test_marks_stay_with_the_character_before_and_blanks_need_no_font(system_fonts):
    assert fonts.readable('na\u0308me\u00a0\u3000x') == 'na\u0308me\u00a0\u3000x'
    assert fonts.readable('') == '' and fonts.text_length('', 20) == 0
