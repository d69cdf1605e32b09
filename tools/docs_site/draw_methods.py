"""Draw docs/images/methods.svg, the frame in which the methods stand.

python tools/docs_site/draw_methods.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

from mlic.files import write_text

TARGET = Path(__file__).parents[2] / 'docs/images/methods.svg'
WIDTH, HEIGHT = 480, 1076  # narrow, so that a phone shows letters that can be read
INK, PALE, LINE = '#1f2933', '#5f6c7b', '#9aa5b1'
# of a box: its ground and its edge
SHARED, LABELS, NECKS, MAPS, POOLED, CONTRAST = (
    ('#f3f4f6', '#9aa5b1'),
    ('#fff7e0', '#d9a400'),
    ('#e3eefc', '#3b78c9'),
    ('#e4f5ea', '#2f9e5b'),
    ('#f1e8fb', '#8557c2'),
    ('#fde7ea', '#c8455a'),
)
HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    f'width="{WIDTH}" height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif" role="img" '
    'aria-label="Methods in one frame: from images through a backbone to scores of classes">\n'
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    f'markerHeight="7" orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="{PALE}"/></marker>'
    '</defs>\n'
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
)


def text(x: float, y: float, words: str, size: int = 15, **style) -> str:
    """One line of text."""
    style = {'fill': INK, 'text_anchor': 'start', **style}
    attributes = ' '.join(f'{k.replace("_", "-")}="{v}"' for k, v in style.items())
    return f'<text x="{x}" y="{y}" font-size="{size}" {attributes}>{escape(words)}</text>'


def box(place: tuple, colour: tuple, title: str, *lines: str) -> str:
    """A box (x, y, width, height) with a title and lines below it, in the middle of its width."""
    (x, y, w, h), (ground, edge) = place, colour
    middle, top = x + w / 2, y + h / 2 - 10.5 * len(lines) + 5
    parts = [
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{ground}" '
        f'stroke="{edge}" stroke-width="1.5"/>',
        text(middle, top, title, 16, text_anchor='middle', font_weight='600'),
    ]
    parts += [
        text(middle, top + 21 * number, line, text_anchor='middle', fill=PALE)
        for number, line in enumerate(lines, 1)
    ]
    return '\n'.join(parts)


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    """A line through points that ends in a tip."""
    path = ' L '.join(f'{x} {y}' for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ''
    return (
        f'<path d="M {path}" fill="none" stroke="{PALE}" stroke-width="1.6" '
        f'marker-end="url(#tip)"{dash}/>'
    )


def draw() -> str:
    """The picture, as SVG."""
    parts = [
        # the way of an image
        box((10, 10, 150, 84), SHARED, 'Images', '(B, 3, H, W)', 'one protocol'),
        box((220, 10, 250, 84), SHARED, 'Backbone', 'ResNet, ViT, Swin,', 'ConvNeXt …'),
        arrow((160, 52), (218, 52)),
        text(240, 112, '(B, K, h, w)', fill=PALE, text_anchor='end'),
        # three ways from the map to the scores
        arrow((250, 94), (250, 118), (25, 118), (25, 364), (53, 364)),
        *(arrow((25, y), (53, y)) for y in (171, 262)),
        box(
            (55, 312, 370, 104),
            NECKS,
            'An embedding of each class (B, C, D)',
            'SARL, Query2Label, MulCon, ADD-GCN,',
            'SSGRL, SALGL, R101TF; scores by a',
            'linear map of its own for each class',
        ),
        box((55, 232, 370, 60), MAPS, 'Scores from the map', 'ML-Decoder, CSRA, C-Tran, TDRG'),
        box(
            (55, 130, 370, 82),
            POOLED,
            'Classifiers of the pooled map',
            'linear, ML-GCN, DSDL,',
            'CPCL, CCD',
        ),
        # what is learned besides
        arrow((240, 416), (240, 442), dashed=True),
        box(
            (55, 444, 370, 82),
            CONTRAST,
            'Contrast between embeddings',
            'SADCL: samples, prototypes',
            'MulCon: two views',
        ),
        # scores, losses, metric
        arrow((425, 171), (455, 171), (455, 542), (240, 542), (240, 558)),
        *(arrow((425, y), (454, y)) for y in (262, 364)),
        box(
            (55, 560, 370, 82),
            SHARED,
            'Scores (B, C)',
            'losses of known labels;',
            'metrics by protocol',
        ),
        # what the labels' names and counts give
        text(10, 676, 'What else a method may take:', fill=PALE),
        box(
            (10, 690, 460, 82),
            LABELS,
            'LabelGraph',
            'which classes occur together:',
            'ML-GCN, SSGRL, CPCL; SALGL, by scene',
        ),
        box(
            (10, 784, 460, 82),
            LABELS,
            'LabelVectors',
            'of the words in their names, or learned:',
            'ML-GCN, SSGRL, DSDL, CPCL, SALGL',
        ),
        box(
            (10, 878, 460, 60), LABELS, 'Known labels of the image', 'where a user has some: C-Tran'
        ),
        box(
            (10, 950, 460, 82),
            SHARED,
            'Around any of them',
            'MCAR looks again at what it found;',
            "CPSD learns from teachers' scores",
        ),
        text(10, 1062, 'C classes, D width of an embedding of a class.', fill=PALE),
    ]
    return '\n'.join([HEAD, *parts, '</svg>\n'])


if __name__ == '__main__':
    write_text(TARGET, draw())
    print(TARGET)
