"""The images of a table: a row or several for each, with their labels and splits."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlic.names import counted, first_names

from .cells import CONFIDENCES, MARKS_IN_NAMES, CellError, in_words, read_cells
from .choices import Choices, Questions, Undecided, show, spell
from .columns import Columns, choose_columns
from .contents import label_name
from .finder import ImageFinder
from .flags import (
    BLANK,
    UNKNOWN,
    flag,
    name_stem,
    plain_name,
    read_flags,
    says_yes_and_no,
)
from .groups import read_groups
from .labels import drop_no_label
from .row_images import group_rows
from .split_columns import read_splits, split_meanings
from .splits import SPLIT_NAMES, Image
from .table import Table


@dataclass
class Said:
    """What each row says of classes, a set each; and how it stands there, in words."""

    present: list[set[str]]
    absent: list[set[str]]
    unknown: list[set[str]]
    form: str


def read_images(
    table: Table, folder: Path | ImageFinder, choices: Choices, skip_missing: bool
) -> tuple[list[Image], list[str] | None, list[str]]:
    """The images of a table that are in the folder, or that the finder has.

    Returns:
        tuple[list[Image], list[str] | None, list[str]]: The images; the classes in the order of
            their columns, if they have columns; and lines that say what was taken for what.

    Raises:
        Undecided: If the columns or cells can be taken in several ways, or images are listed twice.
        ValueError: If images are missing (unless skipped) or what is there makes no sense; names
            the lines.
    """
    finder = folder if isinstance(folder, ImageFinder) else ImageFinder(folder)
    questions, said = Questions(), -1
    while len(questions.said) > said:  # an answer may leave something else open
        said = len(questions.said)
        try:
            found = _read(table, finder, questions.answered(choices), skip_missing, questions)
        except ValueError:
            if not questions.said:
                raise
    if questions.said:
        raise Undecided(
            f'{table.places[0][0]}: {"; ".join(questions.said)}',
            ' and '.join(questions.assumed),
            questions.words(choices.ignored),
        )
    files = list(dict.fromkeys(path for path, _ in table.places))
    images, classes, lines = found
    rows = f'{first_names(files, 3)}: {counted(len(table.rows), "row")}'
    return images, classes, [rows, *lines]


def _read(
    table: Table, finder: ImageFinder, choices: Choices, skip_missing: bool, questions: Questions
) -> tuple[list[Image], list[str] | None, list[str]]:
    """:func:`read_images`, as far as the questions are answered as assumed."""
    columns = choose_columns(table, finder, choices, questions)
    rows_of, missing = group_rows(table, columns, finder, skip_missing)
    there = [row for row, file in enumerate(columns.found) if file]
    whole = {(table.places[row][0], *table.rows[row]): row for row in reversed(there)}
    if len(whole) < len(table.rows):  # other rows, as of totals, say nothing
        first = table.take(sorted(whole.values()))
        images, classes, lines = _read(first, finder, choices, skip_missing, questions)
        if missing:
            lines.append(f'{missing} of {len(table.rows)} rows skipped, their image is missing')
        same = len(there) - len(whole)
        if same:
            lines.append(f'{counted(same, "row")} skipped, equal to an earlier one')
        return images, classes, lines
    repeated = any(len(rows) > 1 for rows in rows_of.values())
    said = _read_labels(table, columns, choices, repeated, questions)
    confidence = _read_confidence(table, columns, choices, said, questions)
    if repeated and confidence is None and not columns.has_flags:
        _ask_of_flags(table, columns, choices, questions)
    _check_contradictions(table, rows_of, said)
    _check_options(table, columns, choices, confidence)
    if repeated:
        _check_repeated(table, columns, rows_of, said, choices, questions)
        said.form = 'a row for each label'
    splits = read_splits(table, columns.split)
    images = []
    for path, rows in rows_of.items():
        differing = next((row for row in rows if splits[row] != splits[rows[0]]), None)
        if differing is not None:
            raise ValueError(f'{table.where(differing)}: {path} is in two splits')
        names, absent, unknown = (
            set().union(*(sets[row] for row in rows))
            for sets in (said.present, said.absent, said.unknown)
        )
        place = table.where(rows[0]), splits[rows[0]]
        images.append(Image(path, names, *place, unknown, absent, choices.unlisted == 'absent'))
    lines = [*_describe(table, columns, said, confidence, choices)]
    unlisted = len(finder.files) - len(images)
    rest = f'; without a row: {unlisted} more in {finder.name}, left out'
    lines.append(f'{counted(len(images), "image")}{rest if unlisted else ""}')
    lines += read_groups(table, columns, rows_of, images, choices.ignored)
    classes = [table.header[i] for i in columns.labels] if columns.has_flags else None
    if not classes:
        lines += drop_no_label(images)
    return images, classes, lines


def _read_labels(
    table: Table, columns: Columns, choices: Choices, repeated: bool, questions: Questions
) -> Said:
    """What every row says of classes, in columns of their own or in cells of labels."""
    labels, absent, unknown = ([set() for _ in table.rows] for _ in range(3))
    if columns.has_flags:
        labels, unknown, form = read_flags(table, columns.labels, choices, questions)
        return Said(labels, absent, unknown, form)
    forms = []
    for i in columns.labels:
        cells = {re.sub(r'\W', '', cell.lower()) for cell in table.values(i)} - {''}
        if cells and cells <= {*SPLIT_NAMES} and not choices.labels:
            name = table.header[i]
            question = f'{name!r} holds {show(sorted(cells))}, which may be splits or labels'
            questions.ask(question, 'they are', '--label-columns', name)
        kind = label_name(table.header[i])
        is_plural = bool(kind and kind[2])
        many = False if repeated and not is_plural else is_plural or None
        try:
            found, lacking, form = read_cells(table.column(i), choices.sep, many)
        except CellError as error:
            message = f'{table.line(error.row)}: {error}'
            if not error.separators:
                raise ValueError(f'{table.where(error.row)}: {error}') from error
            # a column called label has one in each cell, unless it is said or its cells say so
            seps = error.separators
            is_one = kind and not is_plural and (repeated or seps[0] not in MARKS_IN_NAMES)
            seps = [''] if is_one else seps
            assumed = (
                'a cell is one label' if not seps[0] else f'{in_words(seps[0])} separate labels'
            )
            questions.ask(f'{message} ({error.answers})', assumed, '--sep', spell(seps[0]))
            return Said(labels, absent, unknown, '')
        forms.append(form)
        for row, (names, more) in enumerate(zip(found, lacking)):
            labels[row] |= names
            absent[row] |= more
    return Said(labels, absent, unknown, ', '.join(dict.fromkeys(forms)))


def _read_confidence(
    table: Table, columns: Columns, choices: Choices, said: Said, questions: Questions
) -> int | None:
    """Move labels that are absent or unknown where their row says so; the column that does."""
    unknown = {flag(value) for value in choices.unknown}
    taken = {columns.image, columns.split, columns.group, *columns.labels}
    for i, name in enumerate(table.header):
        if (
            not columns.has_flags
            and i not in taken
            and plain_name(name) in CONFIDENCES
            and name not in choices.ignored
        ):
            cells = table.column(i)
            odd = {flag(cell) for cell in cells} - {'0', '1', *unknown}
            if odd:
                row = next(row for row, cell in enumerate(cells) if flag(cell) in odd)
                answer = 'all labels are there, whatever it says', '--ignore-columns', name
                if odd <= {'-1', *BLANK, *UNKNOWN}:
                    marks = sorted(odd | unknown)
                    answer = f'{show(marks)} says that it is unknown', '--unknown', *marks
                questions.ask(
                    f'{table.line(row)}: {cells[row]!r} in the column {name!r} is neither 0 nor 1',
                    *answer,
                )
                return i
            for row, (cell, names) in enumerate(zip(cells, said.present)):
                kind = said.unknown if flag(cell) in unknown else said.absent
                if flag(cell) in {'0', *unknown}:
                    kind[row] |= names
                    names.clear()
            return i
    return None


def _ask_of_flags(table: Table, columns: Columns, choices: Choices, questions: Questions) -> None:
    """Ask of columns of yes and no next to a label: they may say whether it is there."""
    taken = {columns.image, columns.split, columns.group, *columns.labels}
    for i, name in enumerate(table.header):
        values = {flag(cell) for cell in table.values(i)}
        if i not in taken and name not in choices.ignored and says_yes_and_no(name, values):
            questions.ask(
                f'the column {name!r} holds {show(sorted(values))} next to a label: if it says '
                f'whether the label is there, call it {CONFIDENCES[0]}, with 1 and 0 in it',
                f'{name!r} says something else',
                *('--ignore-columns', name),
            )


def _check_contradictions(table: Table, rows_of: dict[str, list[int]], said: Said) -> None:
    """ValueError if an image has a label in one place, and in another it is absent or unknown."""
    kinds = ('present', said.present), ('absent', said.absent), ('unknown', said.unknown)
    kinds = [(word, sets) for word, sets in kinds if any(sets)]
    for path, rows in rows_of.items() if len(kinds) > 1 else ():
        told: dict[str, tuple[str, int]] = {}
        for row, (word, sets) in itertools.product(rows, kinds):
            for label in sorted(sets[row]):
                before, first = told.setdefault(label, (word, row))
                if before != word:
                    raise ValueError(
                        f'{table.where(row)}: {label!r} is {word} in {path}, but {before} in '
                        f'{table.line(first)}'
                    )


def _check_options(
    table: Table, columns: Columns, choices: Choices, confidence: int | None
) -> None:
    """ValueError for what says what is unknown in another form of table."""
    if columns.has_flags and choices.unlisted == 'unknown':
        raise ValueError(
            f'{table.places[0][0]} has a column for each class, so none is unlisted: '
            "--unknown VALUE … says which cells are unknown, '' the blank ones"
        )
    if choices.unknown and not columns.has_flags and confidence is None:
        raise ValueError(
            f'{table.places[0][0]} has lists of labels: --unknown is for cells of a column for '
            f'each class, or of a column {" or ".join(CONFIDENCES)} next to a label; --unlisted '
            'unknown says that nobody annotated the classes an image does not list'
        )


def _check_repeated(
    table: Table, columns: Columns, rows_of: dict, said: Said, choices: Choices,
    questions: Questions,
) -> None:  # fmt: skip
    """Refuse images in several rows, unless a row is one label."""
    twice = [path for path, rows in rows_of.items() if len(rows) > 1]
    path, rows = twice[0], rows_of[twice[0]]
    places = f'{path} is listed twice, in {table.line(rows[0])} and in {table.line(rows[1])}'
    places += f', one of {len(twice)} such images' * (len(twice) > 1)
    names = [plain_name(name) for name in table.header]
    is_decided = choices.sep is not None or not said.form.endswith('blanks')
    has_several = is_decided and any(len(names) > 1 for names in said.present)
    if columns.has_flags or len(columns.labels) > 1 or 'annotator' in names or has_several:
        raise ValueError(f'{places}; an image has one row: keep one, with all its labels')
    kind = label_name(table.header[columns.labels[0]])
    is_asked = choices.sep is not None or '--sep' in questions.options
    if not is_asked and not (kind and not kind[2]):
        question = f'{places}; an image has one row with all its labels, or a row for each label'
        questions.ask(question, 'each row has one label', '--sep', '')


def _describe(
    table: Table, columns: Columns, said: Said, confidence: int | None, choices: Choices
) -> Iterator[str]:
    """What was taken for what."""
    header = table.header
    without = f', without {columns.left_out!r} before them' if columns.left_out else ''
    yield f'  images: column {header[columns.image]!r}{without}'
    if columns.has_flags:
        yield f'  labels: {said.form}'
    else:
        names = [header[i] for i in columns.labels]
        yield f'  labels: in the column {show(names)}, {said.form}'
        values: dict[str, set[str]] = {}
        for i in columns.labels:
            if not label_name(header[i]):
                values.setdefault(name_stem(header[i]), set()).update(table.column(i))
        counts = Counter(itertools.chain(*values.values()))
        shared = sorted(cell for cell, count in counts.items() if cell and count > 1)
        if shared:
            yield f'  warning: {first_names(shared, 5, repr)} in several of them: one class each'
        if confidence is not None:
            yield f'  rows with 0 in {header[confidence]!r} say that the label is not there'
            if choices.unknown:
                yield f'  rows with {show(choices.unknown)} say that it is unknown'
        if choices.unlisted == 'unknown':
            yield '  classes that an image does not list are unknown'
        elif any(said.absent):
            yield (
                '  classes that an image does not list count as absent; '
                '--unlisted unknown says that nobody annotated them'
            )
        named = set().union(*said.absent, *said.unknown)
        never = sorted(named - set().union(*said.present))
        if never:
            yield (
                f'  {counted(len(never), "label")} in no image, and a class only if --classes FILE '
                f'has it: {first_names(never, 9, repr)}'
            )
    if columns.split is not None:
        name = header[columns.split]
        cells = {flag(cell) for cell in table.values(columns.split)}
        meanings = [f'{x} is {y}' for x, y in split_meanings(name, cells).items() if x in cells]
        yield f'  split: column {name!r} ({", ".join(meanings)})'
    used = {columns.image, columns.split, columns.group, confidence, *columns.labels}
    unused = [name or '(no name)' for i, name in enumerate(header) if i not in used]
    if unused:
        yield f'  columns not used: {", ".join(unused)}'
