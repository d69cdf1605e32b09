"""Draw docs/images/methods.svg, the frame in which the methods stand.

python tools/docs_site/draw_methods.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

from mlic.files import write_text

TARGET = Path(__file__).parents[2] / 'docs/images/methods.svg'
WIDTH, HEIGHT = 1180, 600
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


def text(x: float, y: float, words: str, size: int = 14, **style) -> str:
    """One line of text."""
    style = {'fill': INK, 'text_anchor': 'start', **style}
    attributes = ' '.join(f'{k.replace("_", "-")}="{v}"' for k, v in style.items())
    return f'<text x="{x}" y="{y}" font-size="{size}" {attributes}>{escape(words)}</text>'


def box(place: tuple, colour: tuple, title: str, *lines: str) -> str:
    """A box (x, y, width, height) with a title and lines below it, in the middle of its width."""
    (x, y, w, h), (ground, edge) = place, colour
    middle, top = x + w / 2, y + h / 2 - 9.5 * len(lines) + 5
    parts = [
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{ground}" '
        f'stroke="{edge}" stroke-width="1.5"/>',
        text(middle, top, title, 15, text_anchor='middle', font_weight='600'),
    ]
    parts += [
        text(middle, top + 19 * number, line, 13, text_anchor='middle', fill=PALE)
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
        # what the labels' names and counts give
        text(20, 50, 'What else a', 14, fill=PALE),
        text(20, 70, 'method may take:', 14, fill=PALE),
        box(
            (185, 16, 300, 78),
            LABELS,
            'LabelGraph',
            'which classes occur together:',
            'ML-GCN, SSGRL, CPCL; SALGL, by scene',
        ),
        box(
            (505, 16, 300, 78),
            LABELS,
            'LabelVectors',
            'of the words in their names, or learned:',
            'ML-GCN, SSGRL, DSDL, CPCL, SALGL',
        ),
        box(
            (825, 16, 335, 78),
            LABELS,
            'Known labels of the image',
            'where a user has some:',
            'C-Tran',
        ),
        # the way of an image
        box((20, 250, 130, 90), SHARED, 'Images', '(B, 3, H, W)', 'one protocol'),
        box((185, 250, 150, 90), SHARED, 'Backbone', 'ResNet, ViT,', 'Swin, ConvNeXt …'),
        arrow((150, 295), (183, 295)),
        text(340, 287, '(B, K, h, w)', 12, fill=PALE),
        # three ways from the map to the scores
        box(
            (440, 140, 280, 86),
            NECKS,
            'An embedding of each class',
            'SARL, Query2Label, MulCon,',
            'ADD-GCN, SSGRL, SALGL, R101TF',
        ),
        box((440, 252, 280, 86), MAPS, 'Scores from the map', 'ML-Decoder, CSRA, C-Tran,', 'TDRG'),
        box(
            (440, 364, 280, 86),
            POOLED,
            'Classifiers of the pooled map',
            'linear, ML-GCN, DSDL,',
            'CPCL, CCD',
        ),
        arrow((335, 295), (438, 295)),
        arrow((410, 295), (410, 183), (438, 183)),
        arrow((410, 295), (410, 407), (438, 407)),
        text(730, 175, '(B, C, D)', 12, fill=PALE),
        box((800, 140, 130, 86), SHARED, 'Linear map', 'one for', 'each class'),
        arrow((720, 183), (798, 183)),
        # scores, losses, metric
        box(
            (985, 250, 175, 90),
            SHARED,
            'Scores (B, C)',
            'losses of known labels;',
            'metrics by protocol',
        ),
        arrow((930, 183), (1072, 183), (1072, 248)),
        arrow((720, 295), (983, 295)),
        arrow((720, 407), (1072, 407), (1072, 342)),
        # what is learned besides
        box(
            (440, 496, 280, 84),
            CONTRAST,
            'Contrast between embeddings',
            'SADCL: samples, prototypes',
            'MulCon: two views',
        ),
        arrow((760, 183), (760, 538), (722, 538), dashed=True),
        box(
            (800, 496, 360, 84),
            SHARED,
            'Around any of them',
            'MCAR looks again at what it found;',
            "CPSD learns from teachers' scores",
        ),
        text(20, 535, 'C classes, D width of an', 14, fill=PALE),
        text(20, 555, 'embedding of a class.', 14, fill=PALE),
    ]
    return '\n'.join([HEAD, *parts, '</svg>\n'])


if __name__ == '__main__':
    write_text(TARGET, draw())
    print(TARGET)
