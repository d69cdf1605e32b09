"""The labels of a cell: one, several with a mark between, or a list as JSON and Python write it."""

import ast
import csv
import itertools
import json
import re
import warnings
from collections.abc import Collection, Iterator, Sequence

from mlic.files import KeyTwice, each_key_once
from mlic.names import first_names

from .choices import spell
from .flags import flag
from .labels import normalise

MARKS = ';|,\n；，、'
# which separate labels only if their parts are labels, too
MARKS_IN_NAMES = *'/&+\t#:~*_-', '<br>', '<br/>', '<br />', ' and '
EMPTY = {'set()', 'frozenset()', 'list()', 'tuple()', 'dict()'}  # as Python writes and makes them
MISSING = '<NA>'  # as pandas writes it
NOTHING = {'nan', 'NaN', 'None', 'null'}  # in a list
LONGEST = 10_000  # characters of a Python list; JSON may be longer
# to its end or the cell's: to look for an end from each quote takes long
QUOTED = r"""(?s:'(?:[^'\\]|\\.?)*(?:'|\Z)|"(?:[^"\\]|\\.?)*(?:"|\Z))"""
# under which names annotation tools put the labels into an object
KEY = re.compile(r'choices|\w*labels?|(?:display)?name|class', re.IGNORECASE)
CONFIDENCES = 'confidence', 'score', 'probability'  # next to a label; 1 is certain
VALUE = r'(?:[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?|true|false|nan|none|null)'
VECTOR = re.compile(rf'[\[(]?\s*{VALUE}(?:[\s,;|]+{VALUE})+,?\s*[\])]?', re.IGNORECASE)
IN_VECTORS = {'0', '1', '-1', 'true', 'false', 'nan', 'none', 'null'}


class CellError(ValueError):
    """A cell whose labels cannot be told, its row, what ``--sep`` could say, and this as typed."""

    def __init__(self, message: str, row: int, separators: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.row, self.separators = row, list(separators)
        self.answers = ' or '.join(f"--sep '{spell(x)}'" for x in separators)


def in_words(separator: str) -> str:
    """A separator in a sentence."""
    if separator == ' ':
        return 'blanks'
    return repr(separator) if ' ' in separator else spell(separator)


def marks_between(names: Collection[str], marks: Sequence[str]) -> dict[str, str]:
    """{mark: a name} of those of some marks that cut a name into parts that are all names, too."""
    known, found = {*names}, {}
    for name, mark in itertools.product(names, marks):
        if mark in name and {*map(normalise, name.split(mark))} <= known:
            found.setdefault(mark, name)
    return found


def also_cut(names: Collection[str], mark: str) -> str:
    """The names that a mark cuts into parts that are not all names, for the end of a question."""
    known = {*names}
    odd = [x for x in names if mark in x and not {*map(normalise, x.split(mark))} <= known]
    return f' (it cuts {first_names(odd, 3, repr)}, too)' if odd else ''


def read_cells(
    cells: Sequence[str], sep: str | None, many: bool | None = None, blanks: bool = True
) -> tuple[list[set[str]], list[set[str]], str]:
    """The labels of every cell of a column, those it says are not there, and the form, in words.

    Lists and objects, of JSON or Python, are read as such; a cell next to them that is neither
    is one label. A column of ``[cat, dog]`` or ``[cat dog]`` is one of lists, too; ``{"cat": 0}``
    says that a label is not there. ``<NA>`` is a blank cell; nan and None in a list are no labels.

    Args:
        cells (Sequence[str]): Of the column.
        sep (str, optional): What is between the labels of a cell; '' if a cell is one label.
            None: found out.
        many (bool, optional): Whether a cell is expected to hold several labels (True), one
            (False), or either (None).
        blanks (bool): Whether blanks may be taken for a separator without asking. Defaults to True.

    Raises:
        CellError: If they can be read in more than one way, or in none.
    """
    cells = ['' if cell == MISSING else cell for cell in cells]
    _check_vectors(cells)
    starts = '[{(' if sep is not None else "[{('"
    absent: dict[str, set[str]] = {}
    lists = {
        cell: _read_list(cell, row, absent.setdefault(cell, set()))
        if cell[:1] and cell[0] in starts
        else None
        for row, cell in enumerate(cells)
    } | {cell: set() for cell in EMPTY.intersection(cells)}
    plain = [cell for cell in lists if cell and lists[cell] is None]
    has_lists = len(plain) < len(lists) - ('' in lists)
    is_bare = bool(plain) and all(re.fullmatch(r'\[[^\[\]\'"]*\]', cell) for cell in plain)
    if is_bare:
        inner = {cell: cell[1:-1].strip() for cell in plain}
        if sep is None and any(',' in cell for cell in plain):
            sep = ','
        elif sep is None:
            names = [inner.get(cell, cell) for cell in cells]
            sep = _find_separator(names, [*inner.values()], True, blanks)
        lists |= {cell: _split(text, sep) - NOTHING for cell, text in inner.items()}
        has_lists, plain = True, []
    if sep is None and has_lists:
        for cell in plain:
            marks = [mark for mark in MARKS if mark in cell]
            if marks:
                fault = f'some cells are lists and {cell[:80]!r} is none: one label, or several?'
                answers = ['', *marks] if cell[0] not in '[{' else []  # which is to be mended
                raise CellError(fault, cells.index(cell), answers)
    elif sep is None:
        sep = _find_separator(cells, plain, many, blanks)
    try:
        parts = {cell: _split(cell, sep) for cell in plain}
    except csv.Error as error:
        cell = next(cell for cell in plain if '"' in cell)
        raise CellError(f'{cell[:80]!r}: {error}', cells.index(cell)) from error
    labels = {**lists, **parts, '': set()}
    form = f'separated by {in_words(sep)}' if sep else 'one in each cell'
    form = 'lists' if has_lists else form
    return [labels[cell] for cell in cells], [absent.get(cell, set()) for cell in cells], form


def _check_vectors(cells: Sequence[str]) -> None:
    """CellError if all cells hold a flag for each of some classes, which are not named."""
    filled = list(dict.fromkeys(filter(None, cells)))
    if not all(map(VECTOR.fullmatch, filled)):
        return
    flags = [[flag(x) for x in re.findall(VALUE, cell, re.IGNORECASE)] for cell in filled]
    if len({*map(len, flags)}) == 1 and IN_VECTORS.issuperset(itertools.chain(*flags)):
        for cell, marks in zip(filled, flags):
            if len({*marks}) < len(marks) or not {*marks} <= {'0', '1'}:  # which may be two labels
                fault = f'{cell[:80]!r}: a value for each of {len(marks)} classes; write them'
                raise CellError(
                    f'{fault} into columns that are named like the classes', cells.index(cell)
                )


def _find_separator(
    cells: Sequence[str], distinct: list[str], many: bool | None, blanks: bool
) -> str:
    """What separates the labels of plain cells; '' if a cell is one label."""
    found = [mark for mark in MARKS if any(mark in cell for cell in distinct)]
    between = marks_between(distinct, MARKS_IN_NAMES) if not found else {}

    def ask(*answers: str) -> CellError:
        cell = between.get(answers[-1]) or next(cell for cell in distinct if answers[-1] in cell)
        question = ' or '.join(in_words(x) + also_cut(distinct, x) * bool(between) for x in answers)
        fault = f'{cell[:80]!r}: does it hold several labels, and which separates labels: '
        return CellError(f'{fault}{question}?', cells.index(cell), [*answers, ''])

    if len(found) > 1 or found and many is False:
        raise ask(*sorted(found, key=lambda mark: -sum(mark in cell for cell in cells)))
    if between:
        raise ask(*between)
    if many is False:
        return ''
    mark = found[0] if found else ' '
    # marks within a label make new words, marks between labels make words that come again
    split = [[part.strip() for part in cell.split(mark)] for cell in distinct]
    words = {word for parts in split for word in parts}
    again = len(words) < sum(len(set(parts)) for parts in split)
    fewer = len(words) < len(distinct)
    if mark == ' ':
        if all(len(parts) == 1 for parts in split) or not again:
            return ''
        if many and fewer and blanks:
            return ' '
        raise ask(' ')
    if mark in ',，、' and (not again or many is None and not fewer):
        raise ask(',')
    return mark


def _split(cell: str, separator: str | None) -> set[str]:
    """The labels of a plain cell; one that holds the separator may stand in double quotes."""
    if not separator:
        parts = [cell]
    elif separator == ' ':
        parts = cell.split()
    elif '"' in cell and separator in {*';|,'}:
        rows = csv.reader([cell], delimiter=separator, strict=True, skipinitialspace=True)
        parts = next(rows)
    else:
        parts = cell.split(separator)
    return {normalise(part) for part in parts} - {''}


def _read_list(cell: str, row: int, absent: set[str]) -> set[str] | None:
    """The labels of a list or object as JSON or Python write it; None if it is neither.

    What an object says is not there goes into ``absent``.
    """
    text = f'[{cell}]' if cell[0] == "'" else cell
    try:
        content = _parse(text)
        if content is None:
            return None
        names = {normalise(name) for name in _names(content, absent)} - {''}
        if names & absent:
            raise ValueError(f'{min(names & absent)!r} is there and is not')
        return names
    except ValueError as error:
        raise CellError(f'{cell[:80]!r}: {error}', row) from error


def _parse(text: str) -> list | dict | None:
    """The list or object that a text is; None if it is neither, KeyTwice if it would lose one."""
    try:
        content = json.loads(text, object_pairs_hook=each_key_once)
    except KeyTwice:
        raise
    except (ValueError, RecursionError):
        if len(text) > LONGEST:
            raise ValueError(f'{len(text)} characters are too many for a list') from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of backslashes
                tree = ast.parse(_with_commas(text).lstrip(' \t'), mode='eval')
            content = ast.literal_eval(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.Dict):
                    each_key_once([(ast.literal_eval(key), None) for key in node.keys])
        except KeyTwice:
            raise
        except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError):
            return None
    return content if isinstance(content, (list, tuple, set, dict)) else None


def _with_commas(text: str) -> str:
    """Numpy's ``['a' 'b']`` with a comma, nan as None; Python alone would read one name, ab."""
    strings = re.split(f'({QUOTED})', text)
    strings[::2] = [re.sub(r'\b(nan|NaN|null)\b', 'None', part) for part in strings[::2]]
    for i in range(2, len(strings) - 2, 2):
        if not strings[i]:
            return ''  # ['it''s']: nobody knows
        if strings[i].isspace():
            strings[i] = ','
    return ''.join(strings)


def _names(content: object, absent: set[str]) -> Iterator[str]:
    """The labels in a list or object; ValueError for what can be no label."""
    if isinstance(content, dict):
        keys = [key for key in content if KEY.fullmatch(str(key))]
        kinds = (bool,) if keys else (bool, int, float)
        values = content.values()
        if all(isinstance(x, kinds) and x in (0, 1) for x in values):
            absent.update(normalise(str(name)) for name, value in content.items() if not value)
            yield from (str(name) for name, value in content.items() if value)
            return
        unsure = [key for key in CONFIDENCES if content.get(key, 1) != 1]
        if unsure:
            raise ValueError(
                f'a label with {unsure[0]} {content[unsure[0]]!r}: is it there or not?'
            )
        if content and len(keys) != 1:
            raise ValueError(f'an object with {list(content)[:9]}; which of it are labels?')
        content = [content[key] for key in keys]
        content = content[0] if content and isinstance(content[0], list) else content
    for item in content:
        if item is None or item != item:  # as nan
            continue
        if isinstance(item, dict):
            yield from _names(item, absent)
        elif isinstance(item, str) or type(item) is int:
            yield str(item)
        else:
            raise ValueError(f'{str(item)[:40]!r} is not a label')
