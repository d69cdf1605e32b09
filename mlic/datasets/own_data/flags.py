"""Tables with a column for each class: which values mean that it is there, or nobody looked."""

import re
import shlex
from decimal import Decimal

from mlic.names import first_names

from .choices import Choices, Questions, show
from .table import Table

# what describes an image or a patient, and is not a class
ABOUT_IMAGE = re.compile(
    r'(un)?named.*|index|(.*_)?id|age|sex|gender|weight|width|height|annotator|frontal/lateral|ap/pa'
)
# a column of 0 and 1 that is called so is hardly a class
NO_CLASS = re.compile(
    ABOUT_IMAGE.pattern + r'|k?fold|target|confidence'
    r'|score|(is_?)?(valid|test|train|val|validation|verified|occluded|truncated|crowd|iscrowd|difficult)'
    r'|(data_?)?(split|set|subset|partition)|phase|usage|ml_use'
)
PRESENT, ABSENT = {'1', 'true'}, {'0', 'false'}
FORMS = {'0', '1'}, {'false', 'true'}, {'-1', '1'}
YES = {
    'yes', 'y', 'x', 't', 'present', 'positive', 'pos', '+', '✓', '✔', '√', 'ja', 'oui', 'si', 'sí',
    'sim', '是', 'wahr', 'vrai', 'vero', 'verdadero', 'verdadeiro', 'waar',
}  # fmt: skip
BLANK = {'', 'nan', 'none', 'null', 'na', 'n/a', '<na>'}  # no entry: not there, or nobody looked
NO = {
    'no', 'n', 'f', 'absent', 'negative', 'neg', '-', 'nein', 'non', 'não', 'nao', 'nee', '否',
    'falsch', 'faux', 'falso', 'onwaar', *BLANK,
}  # fmt: skip
SCALED = re.compile(r'([+-]?\d{1,20}(?:[.,]\d{0,20})?)(?:(e[+-]?\d\d?)| ?%)', re.IGNORECASE)
UNKNOWN = {'?', 'u', 'unknown', 'uncertain'}  # nobody looked, or nobody could tell


def plain_name(name: str) -> str:
    """A name in the header, for comparison."""
    return re.sub(r'[ \-]+', '_', name.lower())


def name_stem(name: str) -> str:
    """A name in the header without the number at its end."""
    return re.sub(r'_?\d+$', '', plain_name(name))


def flag(cell: str) -> str:
    """A value of a yes-or-no column in one spelling: 1.0, 1e+00 and 100% are 1, TRUE is true."""
    plain, scaled = cell, re.fullmatch(SCALED, cell)
    if scaled:
        number, exponent = scaled.groups(default='e-2')
        plain = f'{Decimal(number.replace(",", ".") + exponent):f}'
    number = re.fullmatch(r'([+-]?)0*(0|[1-9]\d*)([.,]0*)?', plain)
    if number and not re.fullmatch(r'[1-9]\d*,000', cell):  # which may be thousands
        return number[2] if number[1] != '-' or number[2] == '0' else f'-{number[2]}'
    return cell.lower()


def is_number(value: str) -> bool:
    """Whether a value is a number, a truth value or blank."""
    number = re.fullmatch(r'[+-]?(\d+([.,]\d+)?|[.,]\d+)(e[+-]?\d+| ?%)?', value)
    return bool(number) or value in {'', *PRESENT, *ABSENT}


def is_fraction(value: str) -> bool:
    """Whether a value of :func:`flag` is a number that is not whole."""
    return is_number(value) and bool(re.search(r'[.,%]|\de', value))


def holds_fractions(values: set[str]) -> bool:
    """Whether a column holds numbers, and some are not whole, as of votes and probabilities."""
    numbers = values - BLANK - UNKNOWN
    return all(map(is_number, numbers)) and any(map(is_fraction, numbers))


def says_nothing(values: set[str]) -> bool:
    """Whether no cell of a column says that something is there."""
    return values <= NO | UNKNOWN


def looks_like_flags(values: set[str], unknown: set[str]) -> bool:
    """Whether the cells of a column are 0 and 1, yes and no, counts, or said to be unknown."""
    known = {'-1', *PRESENT, *ABSENT, *YES, *NO, *UNKNOWN, *unknown}
    counts = {value for value in values if re.fullmatch(r'[2-9]', value)} if '0' in values else ()
    return values <= known | {*counts} and not says_nothing(values)


def is_class(name: str, values: set[str], is_called_label: bool) -> bool:
    """Whether a column of such cells may be a class by its name and has a value at all."""
    return not (is_called_label or NO_CLASS.fullmatch(plain_name(name)) or says_nothing(values))


def says_yes_and_no(name: str, values: set[str]) -> bool:
    """Whether a column has both, and nothing else but gaps, and is called like no other matter."""
    yes = values & (PRESENT | YES)
    no = values & ({'-1'} | ABSENT | NO - BLANK)
    gaps = values <= yes | no | BLANK | UNKNOWN
    return bool(yes and no) and gaps and not NO_CLASS.fullmatch(plain_name(name))


def read_flags(
    table: Table, columns: list[int], choices: Choices, questions: Questions
) -> tuple[list[set[str]], list[set[str]], str]:
    """The labels of every row of a table with a column for each, and how they stand there.

    All columns hold 0 and 1, or True and False, or -1 and 1, and may hold ``?`` or, next to 0 or
    False, blanks, where nobody looked; anything else is for the user to decide, by ``--present``,
    ``--absent`` and ``--unknown``.

    Returns:
        tuple[list[set[str]], list[set[str]], str]: Of each row the classes that are present and
            those that are unknown; and what means what, in words.

    Raises:
        ValueError: If a value is decided to be none of these; names the line.
    """
    broken = next((table.header[i] for i in columns if len(table.header[i].splitlines()) > 1), None)
    if broken:
        fault = f'the column {broken!r} has a line break in its name: write it in one line'
        raise ValueError(f'{table.places[0][0]}: {fault}')
    values = {flag(cell) for i in columns for cell in table.values(i)}
    present, absent, unknown = _meanings(table, columns, values, choices, questions)
    for i in columns:
        unclear = {cell for cell in table.values(i) if flag(cell) not in present | absent | unknown}
        if unclear:
            row, cell = next(x for x in enumerate(table.column(i)) if x[1] in unclear)
            raise ValueError(
                f'{table.where(row)}: {cell!r} in the column {table.header[i]!r} is neither '
                f'{show(sorted(present))} (--present) nor {show(sorted(absent))} (--absent)'
                + (f' nor {show(sorted(unknown))} (--unknown)' if unknown else '')
            )
    there, unseen = (
        {cell for i in columns for cell in table.values(i) if flag(cell) in meaning}
        for meaning in (present, unknown)
    )
    names = [(i, table.header[i]) for i in columns]
    classes = first_names([name for _, name in names], 9)
    labels = [{name for i, name in names if cells[i] in there} for cells in table.rows]
    gaps = [
        {name for i, name in names if cells[i] in unseen} if unseen else set()
        for cells in table.rows
    ]
    present, absent, unknown = (sorted(marks & values) for marks in (present, absent, unknown))
    meanings = (present, 'is present'), (absent, 'absent'), (unknown, 'unknown')
    meaning = ', '.join(f'{show(marks)} {word}' for marks, word in meanings if marks)
    blanks = [mark for mark in unknown if mark in BLANK]
    if blanks and not choices.unknown:
        others = [mark for mark in unknown if mark not in BLANK]
        typed = ['--absent', *absent, *blanks, *(['--unknown', *others] if others else [])]
        meaning += f'; {shlex.join(typed)} takes {show(blanks)} for absent'
    return labels, gaps, f'a column for each of {len(names)} classes, {classes} ({meaning})'


def _meanings(
    table: Table, columns: list[int], values: set[str], choices: Choices, questions: Questions
) -> tuple[set[str], set[str], set[str]]:
    """The values that mean present, absent and unknown; what is not certain becomes a question."""
    unknown = {flag(value) for value in choices.unknown}
    present = {flag(value) for value in choices.present} or PRESENT - unknown
    absent = {flag(value) for value in choices.absent} or ABSENT - unknown
    for first, second, both in (
        ('present', 'absent', present & absent),
        ('present', 'unknown', present & unknown),
        ('absent', 'unknown', absent & unknown),
    ):
        if both:
            raise ValueError(f'--{first} and --{second} both have {show(sorted(both))}')
    asked = questions.options
    if '--present' in asked and '--absent' in asked:  # by the columns, of other words
        return {*asked['--present']}, {*asked['--absent']}, {*asked.get('--unknown', unknown)}
    if choices.present or choices.absent:
        return present, absent, unknown
    unknown = unknown or values & UNKNOWN
    rest = values - unknown
    blanks, entries = rest & BLANK, rest - BLANK
    if blanks and any(entries <= form for form in FORMS[:2]):
        if choices.unknown:  # which are all there are
            return present, absent | blanks, unknown
        if entries & ABSENT:
            return present, absent, unknown | blanks
    if rest == {'-1', '1'} or rest == {'-1'}:
        return present, {'-1'}, unknown
    if any(rest <= form for form in FORMS):
        return present, absent, unknown
    return _ask(table, columns, values, unknown, bool(choices.unknown), questions)


def _is_certain(table: Table, column: int) -> bool:
    """Whether the cells of a column are 0 and 1, or True and False."""
    values = {flag(cell) for cell in table.values(column)}
    return any(values <= form for form in FORMS[:2])


def _ask(
    table: Table, columns: list[int], values: set[str], unknown: set[str], is_said: bool,
    questions: Questions,
) -> tuple[set[str], set[str], set[str]]:  # fmt: skip
    """Ask which values mean that a class is there; (present, absent, unknown) as assumed."""
    rest = values - unknown
    number = {value for value in rest if re.fullmatch(r'[1-9]\d*', value)}
    present = number | rest & (PRESENT | YES)
    unsure = rest & {'-1', *BLANK}
    if not is_said and rest - present - unsure:  # 0 or no says absent: these say something else
        unknown = unknown | unsure
    elif not is_said and '-1' in rest:
        unknown = unknown | rest & BLANK
    absent = rest - present - unknown
    odd = {value for value in absent if value not in {'-1', *ABSENT, *NO}}
    if odd or not present:
        row, i = next(
            (row, i) for i in columns for row, cells in enumerate(table.rows)
            if flag(cells[i]) in (odd or values)
        )  # fmt: skip
        raise ValueError(
            f'{table.where(row)}: {table.rows[row][i]!r} in the column {table.header[i]!r} is not '
            '0 or 1. --ignore-columns NAME … leaves columns out, --present, --absent and --unknown '
            'say what values mean; labels in words belong in one column named labels'
        )
    names = [table.header[i] for i in columns if not _is_certain(table, i)]
    options = {
        '--present': sorted(present),
        '--absent': sorted(absent, key=lambda value: (value != '0', value)),
        '--unknown': sorted(unknown, key=lambda value: (value in BLANK, value)),
    }
    if any(values - unknown <= form for form in FORMS):
        options = {'--unknown': options['--unknown']}
    assumed = f'{" or ".join(map(repr, sorted(present)))} says that a class is there'
    if unknown:
        assumed += f' and {" or ".join(show([x]) for x in options["--unknown"])} that it is unknown'
    questions.ask(
        f'the columns of classes hold {show(sorted(values))}, and only 0 and 1, True and False, or '
        '-1 and 1 are certain' + f'; look at {first_names(names, 5, repr)}' * bool(names),
        assumed,
        *(word for option, given in options.items() if given for word in (option, *given)),
    )
    return present, absent, unknown
