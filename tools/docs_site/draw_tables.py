"""Draw the pictures of docs/ whose numbers are in a table of their page.

python tools/docs_site/draw_tables.py
"""

import re
from pathlib import Path

from matplotlib.figure import Figure

from mlic.files import write_picture
from mlic.visualization.gains import Gain, draw_gains
from mlic.visualization.sweep import Result, draw_sweep

DOCS = Path(__file__).parents[2] / 'docs'
USUAL = (100, 0, 32, 0)  # where nothing is varied: images in %, wrong labels in %, batch, hidden


def table(page: str, corner: str) -> list[list[str]]:
    """The cells of a table that has this in its first one, without its header."""
    text = (DOCS / page).read_text(encoding='utf-8').replace('−', '-')
    lines = text[text.index(f'| {corner} |') :].partition('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]


def numbers(cell: str) -> list[float]:
    """Those in a cell."""
    return [float(number) for number in re.findall(r'[+-]?\d+(?:\.\d+)?', cell)]


def hidden_labels() -> list[Result]:
    """mAP of each share of hidden labels."""
    results = []
    for config, _, score, _, gain in table('unknown_labels.md', 'hidden, %'):
        difference, *interval = numbers(gain) or [None]
        name = Path(config.partition('(')[2]).stem
        results.append(Result(name, numbers(score)[:1], difference, interval or None))
    return results


def contrast_gains() -> dict[str, list[Gain]]:
    """What contrast gains over each thing that is varied."""
    panels, plain, word = {}, None, ''
    for varied, value, base, _, gain, interval, _ in table('when_contrast_helps.md', 'varied'):
        word = varied + ', %' * ('%' in value) if varied else word
        number = (numbers(value) or [None])[0]
        entry = Gain('SADCL', number, numbers(gain), numbers(interval), numbers(base)[0])
        if plain is None:
            plain = entry
        else:
            panels.setdefault(word, [plain]).append(entry)
    for entries, usual in zip(panels.values(), USUAL, strict=True):
        entries[0] = plain._replace(number=usual)
        entries.sort(key=lambda entry: entry.number)
    return panels


def draw(name: str, figure: Figure) -> None:
    """A picture of the documents."""
    write_picture(DOCS / f'images/{name}.png', figure)
    print(DOCS / f'images/{name}.png')


if __name__ == '__main__':
    draw('hidden_labels', draw_sweep(hidden_labels(), 'hidden'))
    draw('contrast_gains', draw_gains(contrast_gains()))
