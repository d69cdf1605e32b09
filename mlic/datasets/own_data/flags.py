"""Tables with a column for each class: which values mean that it is there."""

import re

from mlic.names import first_names

from .choices import Choices, Questions, show
from .table import Table

# a column of 0 and 1 that is called so is hardly a class
NO_CLASS = re.compile(
    r'(un)?named.*|index|(.*_)?id|k?fold|age|sex|gender|weight|width|height|target|confidence'
    r'|score|(is_)?(valid|test|train|val|validation|verified|occluded|truncated|crowd|iscrowd|difficult)'
    r'|(data_?)?(split|set|subset|partition)|phase|usage|ml_use'
)
PRESENT, ABSENT = {'1', 'true'}, {'0', 'false'}
FORMS = {'0', '1'}, {'false', 'true'}, {'-1', '1'}
YES = {
    'yes',
    'y',
    'x',
    't',
    'present',
    'positive',
    '+',
    '✓',
    '✔',
    '√',
    'ja',
    'oui',
    'si',
    'sí',
    'sim',
    '是',
}
NO = {
    'no',
    'n',
    'f',
    'absent',
    'negative',
    '-',
    'nan',
    'none',
    'null',
    'nein',
    'non',
    'não',
    '否',
    '',
}


def plain_name(name: str) -> str:
    """A name in the header, for comparison."""
    return re.sub(r'[ \-]+', '_', name.lower())


def flag(cell: str) -> str:
    """A value of a yes-or-no column in one spelling: 1.0 is 1, TRUE is true."""
    number = re.fullmatch(r'([+-]?)0*(\d+)([.,]0*)?', cell)
    if number:
        return number[2] if number[1] != '-' or number[2] == '0' else f'-{number[2]}'
    return cell.lower()


def is_number(value: str) -> bool:
    """Whether a cell is a number, a truth value or blank."""
    number = re.fullmatch(r'[+-]?\d*\.?\d+(e[+-]?\d+)?', value)
    return bool(number) or value in {'', *PRESENT, *ABSENT}


def looks_like_flags(values: set[str]) -> bool:
    """Whether the cells of a column are 0 and 1, yes and no, or counts."""
    known = {'-1', *PRESENT, *ABSENT, *YES, *NO}
    counts = {value for value in values if re.fullmatch(r'[2-9]', value)} if '0' in values else ()
    return values <= known | {*counts} and not values <= NO


def is_class(name: str, values: set[str], is_called_label: bool) -> bool:
    """Whether a column of such cells may be a class by its name and has a value at all."""
    return not (is_called_label or NO_CLASS.fullmatch(plain_name(name)) or values <= NO)


def read_flags(
    table: Table, columns: list[int], choices: Choices, questions: Questions
) -> tuple[list[set[str]], str]:
    """The labels of every row of a table with a column for each, and how they stand there.

    All columns hold 0 and 1, or True and False, or -1 and 1; anything else is for the user to
    decide, by ``--present`` and ``--absent``.

    Raises:
        ValueError: If a value is decided to be neither; names the line.
    """
    broken = next((table.header[i] for i in columns if len(table.header[i].splitlines()) > 1), None)
    if broken:
        fault = f'the column {broken!r} has a line break in its name: write it in one line'
        raise ValueError(f'{table.places[0][0]}: {fault}')
    values = {flag(cell) for i in columns for cell in table.values(i)}
    present = {flag(value) for value in choices.present} or PRESENT
    absent = {flag(value) for value in choices.absent} or ABSENT
    if present & absent:
        raise ValueError(f'--present and --absent both have {show(sorted(present & absent))}')
    if not (choices.present or choices.absent):
        if values == {'-1', '1'} or values == {'-1'}:
            absent = {'-1'}
        elif not any(values <= form for form in FORMS):
            present, absent = _ask(table, columns, values, questions)
    for i in columns:
        unclear = {cell for cell in table.values(i) if flag(cell) not in present | absent}
        if unclear:
            row, cell = next(x for x in enumerate(table.column(i)) if x[1] in unclear)
            raise ValueError(
                f'{table.where(row)}: {cell!r} in the column {table.header[i]!r} is neither '
                f'{show(sorted(present))} (--present) nor {show(sorted(absent))} (--absent)'
            )
    there = {cell for i in columns for cell in table.values(i) if flag(cell) in present}
    names = [(i, table.header[i]) for i in columns]
    classes = first_names([name for _, name in names], 9)
    labels = [{name for i, name in names if cells[i] in there} for cells in table.rows]
    meaning = f'{show(sorted(present & values))} is present, {show(sorted(absent & values))} absent'
    return labels, f'a column for each of {len(names)} classes, {classes} ({meaning})'


def _is_certain(table: Table, column: int) -> bool:
    """Whether the cells of a column are 0 and 1, or True and False."""
    values = {flag(cell) for cell in table.values(column)}
    return any(values <= form for form in FORMS[:2])


def _ask(
    table: Table, columns: list[int], values: set[str], questions: Questions
) -> tuple[set[str], set[str]]:
    """Ask which values mean that a class is there; (present, absent) as assumed."""
    number = {value for value in values if re.fullmatch(r'[1-9]\d*', value)}
    present = number | values & (PRESENT | YES)
    absent = values - present
    odd = {value for value in absent if value not in {'-1', *ABSENT, *NO}}
    if odd or not present:
        row, i = next(
            (row, i) for i in columns for row, cells in enumerate(table.rows)
            if flag(cells[i]) in (odd or values)
        )  # fmt: skip
        raise ValueError(
            f'{table.where(row)}: {table.rows[row][i]!r} in the column {table.header[i]!r} is not '
            '0 or 1. --ignore-columns NAME … leaves columns out, --present and --absent say what '
            'values mean; labels in words belong in one column named labels'
        )
    names = [table.header[i] for i in columns if not _is_certain(table, i)]
    questions.ask(
        f'the columns of classes hold {show(sorted(values))}, and only 0 and 1, True and False, or '
        '-1 and 1 are certain (a label cannot be unknown yet)'
        + f'; look at {first_names(names, 5, repr)}'
        * bool(names),
        f'{" or ".join(map(repr, sorted(present)))} says that a class is there',
        *('--present', *sorted(present)),
        *(['--absent'] if absent else []),
        *sorted(absent, key=lambda value: (value != '0', value)),
    )
    return present, absent
