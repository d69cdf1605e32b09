"""The cells of tables: what delimits them, and which row is the header."""

import csv
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from mlic.datasets.list_files import IMAGE_SUFFIXES
from mlic.files import read_bytes, read_text
from mlic.names import counted, first_names, printable, repeated, short

from .json_rows import json_rows
from .labels import normalise
from .splits import SPLIT_NAMES

DELIMITERS = ',;\t|'
BLANKS = r'\s+'  # as pandas takes them
IMAGE_COLUMN = 'image'  # of a table that does not name it
PANDAS = 'with pandas: pandas.read_{}.to_csv("labels.csv", index=False)'
MATRIX = (
    'with pandas, of its matrix of 0 and 1: pandas.DataFrame(matrix, files, classes)'
    '.to_csv("labels.csv", index_label="image")'
)
XML = 'XML', "Pascal VOC's form needs no table (docs/datasets.md); others may be exported as COCO's"
NOT_TABLES = (  # how a file begins, what it is, and how it becomes a CSV
    (b'PK\x03\x04', 'an Excel workbook or another archive', 'save it as "CSV UTF-8"'),
    (b'\xd0\xcf\x11\xe0', 'an Excel workbook', 'save it as "CSV UTF-8"'),
    (b'PAR1', 'a Parquet file', PANDAS.format('parquet(FILE)')),
    (b'\x1f\x8b', 'packed by gzip', 'unpack it'),
    (b'BZh', 'packed by bzip2', 'unpack it'),
    (b'\xfd7zXZ', 'packed by xz', 'unpack it'),
    (b'\xff\xfe', 'UTF-16', 'save it as "CSV UTF-8"'),
    (b'\xfe\xff', 'UTF-16', 'save it as "CSV UTF-8"'),
    (b'<?xml', *XML),
    (b'<annotation', *XML),
    (b'<!', 'a web page', 'download the file itself'),
    (b'<html', 'a web page', 'download the file itself'),
    (b'version https://git-lfs', 'a pointer of Git LFS', 'fetch the file itself: git lfs pull'),
    (b'MATLAB 5', 'a MATLAB file', MATRIX),
    (b'MATLAB 7', 'a MATLAB file', MATRIX),
    (b'\x89HDF', 'an HDF5 file', MATRIX),
    (b'\x93NUMPY', 'a matrix of numpy', MATRIX),
)


@dataclass
class Table:
    """Cells: each row has as many as ``header`` has names; ``places`` are (file, line)."""

    header: list[str]
    rows: list[list[str]]
    places: list[tuple[Path, int]]
    delimiter: str  # as pandas takes it

    def column(self, index: int) -> list[str]:
        """The cells of a column."""
        return [cells[index] for cells in self.rows]

    def values(self, index: int) -> set[str]:
        """The different cells of a column."""
        return {cells[index] for cells in self.rows}

    def take(self, rows: list[int]) -> 'Table':
        """Some of the rows."""
        cells, places = ([some[row] for row in rows] for some in (self.rows, self.places))
        return replace(self, rows=cells, places=places)

    def find(self, name: str) -> int:
        """The column of that name; ValueError with those there are."""
        if name not in self.header:
            raise ValueError(f'{self.places[0][0]}: no column {name!r} among {self.header}')
        return self.header.index(name)

    def where(self, row: int) -> str:
        """A row's file and line."""
        return '{}, line {}'.format(*self.places[row])

    def line(self, row: int) -> str:
        """A row's line, and its file where there are several."""
        several = self.places[0][0] != self.places[-1][0]
        return self.where(row) if several else f'line {self.places[row][1]}'


def read_tables(paths: list[Path]) -> Table:
    """Tables with the same columns, one below the other.

    Raises:
        ValueError: If one is not a table with a header, or has other columns; names the line.
    """
    table, *others = map(read_table, paths)
    for path, other in zip(paths[1:], others):
        if sorted(other.header) != sorted(table.header):
            differing = sorted({*other.header} ^ {*table.header})
            raise ValueError(
                f'{path} and {paths[0]} differ in the columns {differing}; '
                'tables of the same images must be joined before (docs/datasets.md)'
            )
        order = [other.header.index(name) for name in table.header]
        table.rows += [[cells[i] for i in order] for cells in other.rows]
        table.places += other.places
    return table


def read_table(path: Path) -> Table:
    """Split a file into cells; :func:`json_rows` reads JSON.

    The delimiter is that of a first line ``sep=;``, or the mark that cuts the header into most
    cells and every row into as many, a tab before all others; blanks, where there is no mark. A
    first line that is the number of rows (CelebA's) is dropped; a header that lacks the name of its
    first column gets ``image``; columns without a name and without a content are dropped, and only
    the first may have a content without a name, as the index of pandas.

    Raises:
        ValueError: If it is not a table with a header; names the line.
    """
    text = _text_of(path)
    if re.match(r'\s*[\[{]', text):
        header, rows = json_rows(text, path)
        table = Table(header, [cells for _, cells in rows], [(path, line) for line, _ in rows], ',')
        _check(table, path, 1)
        return table
    said = re.match(r'"?sep=([^\w\s"]|\t)"?[,;\t ]*(?:\r\n?|\n)', text, re.IGNORECASE)
    promised = re.match(r'\s*(\d+)[ \t]*(?:\r\n?|\n)', text)
    start = (said or promised).end() if said or promised else 0
    skipped, text = len(text[:start].splitlines()), text[start:]
    try:
        delimiter, lines = _cut_at_blanks(text) if promised else _cut(text, said and said[1])
    except csv.Error as error:
        line, fault = error.args
        raise ValueError(f'{path}, line {line + skipped}: {fault}') from error
    if not lines:
        raise ValueError(f'{path} is empty')
    places = [(path, line + skipped) for line, _ in lines[1:]]
    table = Table(lines[0][1], [cells for _, cells in lines[1:]], places, delimiter)
    _check(table, path, lines[0][0] + skipped)
    if promised and promised[1].lstrip('0') != str(len(table.rows)):  # int() has a limit of digits
        rows, count = counted(len(table.rows), 'row'), printable(promised[1])
        raise ValueError(f'{path}: {rows}, but its first line says {count}')
    used = [i for i, name in enumerate(table.header) if name or any(table.column(i))]
    for i in used:
        if i and not table.header[i]:
            row, cell = next(x for x in enumerate(table.column(i)) if x[1])
            raise ValueError(
                f'{path}, line {lines[0][0] + skipped}: column {i + 1} has no name, but holds '
                f'{cell[:40]!r} ({table.line(row)}); the first row names the columns: name it, '
                f'such as label_{i}, or delete it'
            )
    if len(used) < len(table.header):
        table.header = [table.header[i] for i in used]
        table.rows = [[cells[i] for i in used] for cells in table.rows]
    return table


def _text_of(path: Path) -> str:
    """The text of a file, or a refusal that names its kind."""
    start = read_bytes(path)[:64].removeprefix(b'\xef\xbb\xbf').lstrip()
    for signature, kind, way in NOT_TABLES:
        if start.startswith(signature):
            if path.suffix.lower() != '.csv':  # of several tables each becomes one of its own
                source, csv_file = (
                    json.dumps(str(name), ensure_ascii=False)
                    for name in (path, path.with_suffix('.csv'))
                )
                way = way.replace('FILE', source).replace('"labels.csv"', csv_file)
            raise ValueError(f'{path} is {kind}, not a table as text; {way}')
    text = read_text(path)
    if '\0' in text:
        raise ValueError(f'{path} has NUL characters (UTF-16?); save it as "CSV UTF-8"')
    return text


def _cut(text: str, delimiter: str | None) -> tuple[str, list[tuple[int, list[str]]]]:
    """The delimiter that fits, and (line, cells) of every row that is not blank.

    Raises:
        csv.Error: With the line and the fault, if none does.
    """
    first = next((line for line in text.splitlines() if line.strip()), '')
    marks = sorted(filter(first.count, DELIMITERS), key=first.count, reverse=True)
    # cells have no tabs, but rows may be aligned by some next to another mark
    bare = re.sub(r'\s*([,;|])\s*', r'\1', first.strip())
    marks.sort(key=lambda mark: mark != '\t' or mark not in bare)
    marks = [delimiter] if delimiter else marks
    if not marks:
        return _cut_at_blanks(text)
    best, fault = ('', []), None
    for mark in marks:
        lines = io.StringIO(text, newline='')
        reader = csv.reader(lines, delimiter=mark, strict=True, skipinitialspace=True)
        rows = []
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    rows.append((reader.line_num, [normalise(cell) for cell in cells]))
        except csv.Error as error:
            fault = fault or csv.Error(reader.line_num, str(error))
            continue
        width = len(rows[0][1]) if rows else 0
        if width > 1 and all(len(cells) == width for _, cells in rows):
            return mark, rows
        best = best if best[1] else (mark, rows)
    if fault:
        raise fault
    return best


def _cut_at_blanks(text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """:func:`_cut` of a text with blanks between the cells."""
    lines = enumerate(text.splitlines(), 1)
    rows = [(line, normalise(row).split()) for line, row in lines if row.strip()]
    if len(rows) > 1 and len(rows[1][1]) == len(rows[0][1]) + 1 and not _images(rows[0][1]):
        rows[0][1].insert(0, IMAGE_COLUMN)
    return BLANKS, rows


def _images(cells: list[str]) -> list[int]:
    """Which of some cells are called like image files."""
    return [i for i, cell in enumerate(cells) if cell.lower().endswith(IMAGE_SUFFIXES)]


def without_header(where: str, table: Table, image: int) -> ValueError:
    """What to say of a table whose header has the name of an image in that column."""
    header, delimiter = table.header, table.delimiter
    known = {i: 'split' for i, cell in enumerate(header) if cell.lower() in SPLIT_NAMES}
    known = dict(sorted({**known, image: IMAGE_COLUMN}.items()))
    such = ','.join([*known.values(), 'labels'])
    fault = f'{where}: {header} looks like an image and its labels; the first row must name the '
    fault += f'columns, such as {such}; '
    if any(len(cells) != len(header) for cells in table.rows):  # of which pandas makes an index
        row = ','.join([*(header[i] for i in known), 'cat;dog'])
        way = f'write each in this way: {row} (docs/datasets.md has a line that does)'
        return ValueError(f'{fault}rows differ in length: {way}')
    names = [f'column {i + 1}' if len(header) > 2 else 'labels' for i in range(len(header))]
    names = [known.get(i, name) for i, name in enumerate(names)]
    cut = '' if delimiter == ',' else f', sep={json.dumps(delimiter)}'
    return ValueError(
        fault + PANDAS.format(f'csv(FILE, names={json.dumps(names)}{cut}, dtype=str)')
    )


def _check(table: Table, path: Path, line: int) -> None:
    """ValueError unless there is a header and every row has as many cells."""
    header = table.header
    images = _images(header)
    if images:
        raise without_header(f'{path}, line {line}', table, images[0])
    if len(header) < 2 or not table.rows:
        rows = counted(len(table.rows), 'row')
        raise ValueError(f'{path}: found columns {short(header)} and {rows} below')
    twice = repeated(filter(None, header))
    if twice:
        fault = f'the column {twice[0]!r} occurs twice (the first row names the columns)'
        raise ValueError(f'{path}, line {line}: {fault}')
    for row, cells in enumerate(table.rows):
        if len(cells) != len(header):
            way = 'a cell that holds the delimiter must be in double quotes'
            if table.delimiter == BLANKS:
                way = 'blanks are between the cells: the first row must name every column'
            if all(len(x) == len(header) + 1 and not x[-1] for x in table.rows):
                way = 'each row ends with the delimiter: let the header end with it, too'
            raise ValueError(
                f'{table.where(row)}: {counted(len(cells), "cell")}, but the header has '
                f'{len(header)} ({first_names(header, 5, repr)}); {way}'
            )
