"""Which images are of one thing, such as a patient: only in one split do they test anything."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from mlic.names import counted

from .columns import Columns
from .flags import plain_name
from .splits import Image
from .table import Table

CALLED = re.compile(  # what several images may be of
    r'(.*_)?(patient|subject|person|lesion|study|case|exam|video|clip|seq|sequence|scene|session)'
    r'(_?(id|uid|no|nr|number|name|index))?'
)


def read_groups(
    table: Table,
    columns: Columns,
    rows_of: dict[str, list[int]],
    images: list[Image],
    ignored: Sequence[str],
) -> list[str]:
    """Fill in what images are of; returns what was done, or what a column says that nobody chose.

    Raises:
        ValueError: If an image is in two groups; names the line.
    """
    if columns.group is None:
        for i, name in enumerate(table.header):
            if i not in {columns.image, columns.split, *columns.labels} and name not in ignored:
                groups = [_same(table.rows[rows[0]][i]) for rows in rows_of.values()]
                if CALLED.fullmatch(plain_name(name)) and _repeats(groups):
                    return [*_warnings(name, groups, images)]
        return []
    name, groups = table.header[columns.group], []
    for path, rows in rows_of.items():
        group, *others = dict.fromkeys(_same(table.rows[row][columns.group]) for row in rows)
        if others:
            raise ValueError(
                f'{table.where(rows[0])}: {path} has two values in {name!r}, {group!r} and '
                f'{others[0]!r}'
            )
        groups.append(group)
    for image, group in zip(images, groups):
        image.group = group or None
    alone = groups.count('')
    rest = f'; {counted(alone, "image")} without one' if alone else ''
    said = f'  kept in one split: images with the same {name!r}, {len({*groups} - {""})} in all'
    return [said + rest, *_warnings(name, groups, images)]


def _same(cell: str) -> str:
    """A cell, without the .0 that programs write after numbers of a column with empty cells."""
    return re.sub(r'^(\d+)\.0$', r'\1', cell)


def _repeats(groups: list[str]) -> bool:
    """Whether several images are of one, and not all."""
    filled = [*filter(None, groups)]
    return len({*filled}) < len(filled) and len({*groups}) > 1


def _warnings(name: str, groups: list[str], images: list[Image]) -> Iterator[str]:
    """What to say where images of one are in different splits, or may be."""
    seen = 'and a model would be tested on what it has seen'
    pairs = {(group, image.split) for group, image in zip(groups, images) if group}
    torn = sorted(group for group, n in Counter(group for group, _ in pairs).items() if n > 1)
    if torn:
        such = f'{len(torn)} of {len({*groups} - {""})}, such as {torn[0]!r}'
        yield f'warning: images with the same {name!r} are in different splits ({such}), {seen}'
    elif 'val' not in {image.split for image in images} and not any(x.group for x in images):
        yield (  # validation images are still to be chosen
            f'warning: images with the same {name!r} may come into different splits, {seen}: '
            f'--group-column {shlex.quote(name)} keeps them together'
        )
