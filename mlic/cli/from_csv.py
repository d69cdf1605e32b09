"""A CSV of labels becomes a data set that trains: JSON files and a config.

    python tools/dataset_tools/from_csv.py labels.csv --images photos --out data/pets

Two forms are read, and the tool says which it found:

- ``image,labels``: the labels in one cell, separated by ``;``, ``|``, a comma (the cell in quotes)
  or blanks; ``--sep`` decides where the tool cannot. An empty cell is an image without a label.
- ``image,beach,boat,person``: a column of 0 and 1 for each class.

The first row names the columns. A column ``split`` (train, val, test) is used if there is one.
Names of images count from ``--images``; a missing suffix is found. Written to OUT: ``train.json``,
``val.json``, ``test.json`` (of mmpretrain's MultiLabelDataset), ``classes.txt``, and a config.
"""

import argparse
import csv
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlic.cli.own_data import finish, parse_options
from mlic.datasets.list_files import IMAGE_SUFFIXES, list_images
from mlic.datasets.own_data.labels import normalise
from mlic.datasets.own_data.splits import SPLIT_NAMES, Image
from mlic.engine.runner.errors import one_line_errors
from mlic.files import read_text
from mlic.names import first_names

IMAGE_COLUMNS = 'image img filename file file_name filepath path image_path img_path image_name'
LABEL_COLUMNS = 'labels label tags tag classes class categories category'
SPLIT_COLUMNS = 'split subset'
BITS = {'0': False, '1': True, '0.0': False, '1.0': True}


@dataclass
class Table:
    """The cells of a CSV: ``rows`` are (line number, cells), as many as ``header`` has names."""

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def find(self, names: str) -> int | None:
        """The first column with one of these names."""
        lower = [name.lower().replace(' ', '_') for name in self.header]
        return next((lower.index(name) for name in names.split() if name in lower), None)


def read_table(path: Path) -> Table:
    """Split a CSV into cells; the delimiter is the most frequent mark of the header.

    Raises:
        ValueError: If it is not a table with a header; names the line.
    """
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), '')
    delimiter = max(',;\t', key=first.count)
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [normalise(cell) for cell in cells]))
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}') from error
    if not rows:
        raise ValueError(f'{path}: is empty')
    line, header = rows.pop(0)
    if any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in header):
        raise ValueError(
            f'{path}, line {line}: {header} looks like an image and its labels; '
            'the first row must name the columns, such as image,labels'
        )
    if len(header) < 2 or not rows:
        raise ValueError(f'{path}: found columns {header} and {len(rows)} rows below')
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise ValueError(f'{path}, line {line}: the column {twice[0]!r} is there twice')
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(
                f'{path}, line {line}: {len(cells)} cells, but the header has {len(header)}; '
                'a cell that holds the delimiter stands in quotes'
            )
    return Table(path, header, rows)


def find_separator(cells: list[str]) -> str | None:
    """What separates the labels of a cell; None if a cell is one label.

    Raises:
        ValueError: If several characters could.
    """
    found = [mark for mark in ';|,' if any(mark in cell for cell in cells)]
    if len(found) > 1:
        raise ValueError(f'which separates labels: {" or ".join(found)} ? Say it with --sep')
    if found:
        return found[0]
    # Blanks within a label make new words, blanks between labels make words that come again
    distinct = set(filter(None, cells))
    words = {word for cell in distinct for word in cell.split()}
    return ' ' if len(words) < len(distinct) else None


def split_cell(cell: str, separator: str | None) -> set[str]:
    """The labels of a cell; also of a list as Python and JSON write it."""
    if cell.startswith('[') and cell.endswith(']'):
        cell = cell[1:-1]
        return {part.strip(' \'"') for part in cell.split(separator or ',')} - {''}
    parts = cell.split(None if separator == ' ' else separator) if separator else [cell]
    return {part.strip() for part in parts} - {''}


def read_labels(table: Table, image: int, split: int | None, sep: str | None) -> tuple:
    """Labels of every row, and the classes in the order of their columns, if they have columns."""
    column = table.find(LABEL_COLUMNS)
    others = [i for i, name in enumerate(table.header) if name and i not in (image, split)]
    words = {row[others[0]] for _, row in table.rows} - set(BITS) if others else set()
    if column is None and len(others) == 1 and words:
        column = others[0]
    if column is not None:
        unused = [table.header[i] for i in others if i != column]
        cells = [row[column] for _, row in table.rows]
        separator = sep or find_separator(cells)
        how = {None: 'one in each cell', ' ': 'separated by blanks'}
        print(
            f'{table.path}: labels in the column {table.header[column]!r}, '
            f'{how.get(separator, f"separated by {separator}")}'
            + (f'; columns not used: {", ".join(unused)}' if unused else '')
        )
        return [split_cell(cell, separator) for cell in cells], None
    if sep:
        raise ValueError(f'{table.path}: --sep needs a column labels, found {table.header}')
    for line, row in table.rows:
        for i in others:
            if row[i] not in BITS:
                raise ValueError(
                    f'{table.path}, line {line}: {row[i]!r} in the column {table.header[i]!r} is '
                    'not 0 or 1. Labels in words belong in one column named labels'
                )
    classes = [table.header[i] for i in others]
    print(f'{table.path}: a column of 0 and 1 for each of {len(classes)} classes')
    return [{table.header[i] for i in others if BITS[row[i]]} for _, row in table.rows], classes


class ImageFinder:
    """Finds the file that a name in the CSV means.

    The name counts from the image folder, or starts with it. Where there is no such file, one that
    differs in case or has a suffix more is taken, if it is the only one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(list_images(folder)[0])
        self.exact = {normalise(file): file for file in self.files}
        self.similar: dict[str, list[str]] = {}
        for file in self.files:
            path = PurePosixPath(normalise(file).casefold())
            for key in (path, path.with_suffix('')):
                self.similar.setdefault(str(key), []).append(file)

    def find(self, name: str) -> str | None:
        """Path relative to the folder, or None."""
        path = PurePosixPath(name.replace('\\', '/'))
        starts = {self.folder.as_posix(), self.folder.resolve().as_posix(), self.folder.name}
        candidates = [str(path)]
        candidates += [
            str(path.relative_to(start)) for start in sorted(starts) if path.is_relative_to(start)
        ]
        found = [self.exact[name] for name in candidates if name in self.exact]
        similar = [self.similar.get(name.casefold(), []) for name in candidates]
        found += [files[0] for files in similar if len(files) == 1]
        return found[0] if found else None


def read_splits(table: Table, column: int | None) -> list[str | None]:
    """The split of every row, None where the table has no such column."""
    if column is None:
        return [None] * len(table.rows)
    for line, row in table.rows:
        if row[column].lower() not in SPLIT_NAMES:
            raise ValueError(
                f'{table.path}, line {line}: split {row[column]!r} is none of '
                f'{", ".join(SPLIT_NAMES)}'
            )
    return [SPLIT_NAMES[row[column].lower()] for _, row in table.rows]


def read_images(table: Table, folder: Path, sep: str | None, skip_missing: bool) -> tuple:
    """The images of a table that are in the folder, and the classes if they have columns.

    Raises:
        ValueError: If images are missing (unless skipped) or listed twice; names the lines.
    """
    image, split = table.find(IMAGE_COLUMNS) or 0, table.find(SPLIT_COLUMNS)
    labels, classes = read_labels(table, image, split, sep)
    finder = ImageFinder(folder)
    found: dict[str, Image] = {}
    missing = []
    for (line, row), names, part in zip(table.rows, labels, read_splits(table, split)):
        path = finder.find(row[image])
        if path is None:
            missing.append(f'{row[image]!r} (line {line})')
        elif path in found:
            raise ValueError(
                f'{table.path}: {path} is listed twice, in {found[path].where} and in line {line}; '
                'write all labels of an image into one row'
            )
        else:
            found[path] = Image(path, names, f'line {line}', part)
    if not found:
        raise ValueError(
            f'none of the {len(missing)} images of column {table.header[image]!r} is in {folder}, '
            f'which has {len(finder.files)} image files; first: {missing[0]}'
        )
    if missing and not skip_missing:
        raise ValueError(
            f'{len(missing)} of {len(table.rows)} images are not in {folder}: '
            f'{first_names(missing, 5)}. '
            '--skip-missing continues without them'
        )
    if missing:
        print(f'{len(missing)} of {len(table.rows)} rows skipped, their image is missing')
    unlisted = len(finder.files) - len(found)
    print(f'{len(found)} images; {unlisted} more in {folder} have no row and are left out')
    return list(found.values()), classes


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Make a data set and a config of a CSV of labels')
    parser.add_argument('csv', type=Path, help='table with a header')
    parser.add_argument('--images', type=Path, required=True, help='folder of the images')
    parser.add_argument('--sep', help='what separates the labels of a cell, such as ";" or " "')
    args = parse_options(parser, argv)
    table = read_table(args.csv)
    images, classes = read_images(table, args.images, args.sep, args.skip_missing)
    finish(args, images, args.images, classes)
