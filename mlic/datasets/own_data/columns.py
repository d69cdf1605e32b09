"""Which column of a table is what: told by the header, and checked by the contents."""

import re
from collections import Counter
from dataclasses import dataclass

from mlic.names import first_names

from .choices import Choices, Questions, show
from .contents import Contents, contents_of, label_name
from .finder import Found, ImageFinder
from .flags import (
    ABOUT_IMAGE,
    ABSENT,
    NO,
    PRESENT,
    UNKNOWN,
    YES,
    flag,
    holds_fractions,
    is_class,
    is_fraction,
    is_number,
    looks_like_flags,
    name_stem,
    plain_name,
    says_nothing,
)
from .split_columns import choose_split
from .table import Table, without_header

IMAGE_NAMES = [
    'image', 'img', 'filename', 'file', 'file_name', 'fname', 'filepath', 'file_path', 'path',
    'image_path', 'img_path', 'image_name', 'image_file', 'image_index', 'image_id', 'imageid',
    'img_name', 'id', 'url',
]  # fmt: skip
NUMBERED = {'id', 'image_id', 'imageid', 'url'}  # where another column may name the files
SAMPLE = 1000  # rows by which the column of images is told


@dataclass
class Columns:
    """Which column is what, by index; ``labels`` are cells of labels, or flags."""

    image: int
    split: int | None
    group: int | None
    labels: list[int]
    has_flags: bool
    found: list[Found | None]
    left_out: str


def _two_values(table: Table, columns: list[int], unknown: set[str]) -> list[str]:
    """The only two values of columns, that which says that something is there first; [] if not.

    That is a yes, or not a no, or the rarer one. Values that mean that nobody looked do not count.
    """
    counts = Counter(flag(cell) for i in columns for cell in table.column(i))
    values = counts.keys() - unknown
    yes, no = PRESENT | YES, ABSENT | NO
    order = sorted(values, key=lambda value: (value not in yes, value in no, counts[value], value))
    return order if len(order) == 2 else []


def _mostly_blank(table: Table, column: int) -> bool:
    """Whether more than half of a column's cells are blank, as of remarks."""
    return table.column(column).count('') * 2 > len(table.rows)


def choose_columns(
    table: Table, finder: ImageFinder, choices: Choices, questions: Questions
) -> Columns:
    """Tell the columns of a table; what is not certain becomes a question.

    Raises:
        ValueError: If there is nothing to choose among.
    """
    ignored = {table.find(name) for name in choices.ignored}
    group = None if choices.group is None else table.find(choices.group)
    ignored.add(group)
    named = [table.find(name) for name in dict.fromkeys(choices.labels)]
    image, found, left_out = _choose_image(table, finder, choices, {*ignored, *named}, questions)
    rows = [row for row, file in enumerate(found) if file]  # not of totals
    if len(rows) * 2 > len(found):
        table = table.take(rows)
    split = choose_split(table, choices, {*ignored, *named, image}, questions)
    rest = [i for i in range(len(table.header)) if i not in {*ignored, image, split}]
    paths = [file.path for file in found if file]
    repeated = len({*paths}) < len(paths)
    labels, has_flags = _choose_labels(table, named, rest, choices, repeated, questions)
    return Columns(image, split, group, labels, has_flags, found, left_out)


def _choose_image(
    table: Table, finder: ImageFinder, choices: Choices, others: set[int], questions: Questions
) -> tuple[int, list[Found | None], str]:
    """The column whose cells are files of the folder, and which."""
    tables = [path for path, _ in table.places]
    if choices.image is not None:
        column = table.find(choices.image)
        return (column, *finder.find_all(table.column(column), tables))
    names = list(map(plain_name, table.header))
    candidates = [i for i, name in enumerate(names) if i not in others and not label_name(name)]
    called = [i for i in candidates if names[i] in IMAGE_NAMES]
    called.sort(key=lambda i: IMAGE_NAMES.index(names[i]))

    def find(i: int, step: int = 1) -> tuple[list[Found | None], str]:
        return finder.find_all(table.column(i)[::step], tables[::step])

    sample = {i: find(i, max(len(tables) // SAMPLE, 1))[0] for i in candidates}
    exact = {i: len({x.path for x in sample[i] if x and x.exact}) for i in candidates}
    any_ = {i: len({x.path for x in sample[i] if x}) for i in candidates}
    counts = exact if any(exact.values()) else any_
    most = max(counts.values(), default=0)
    if not most:
        if called:
            return (called[0], *find(called[0]))
        raise ValueError(
            f'{table.places[0][0]}: no cell of the columns {show(table.header)} is a file of '
            f'{finder.name}, which has {len(finder.files)} image files: is it the right folder? '
            '--image-column NAME says where their names are'
        )
    best = [i for i in candidates if counts[i] * 2 >= most]
    # an index that names files by chance comes last
    best.sort(
        key=lambda i: (
            called.index(i) if i in called else len(called),
            _counts_rows(table, i),
            -counts[i],
        )
    )
    column = best[0]
    if counts is any_ and called and called[0] not in best:
        by_chance = _counts_rows(table, best[0]) or not all(sample[best[0]])
        if by_chance or any_[called[0]] or names[called[0]] not in NUMBERED:
            return (called[0], *find(called[0]))
    found, left_out = find(column)
    if any(_differ(found, find(i)[0]) for i in best[1:]):
        these = show([table.header[i] for i in best])
        question = f'the columns {these} all name files of {finder.name}, not the same ones'
        name = table.header[column]
        questions.ask(question, f'{name!r} is the image', '--image-column', name)
    elif counts is any_ and column not in called:
        name = table.header[column]
        if finder.find_all([name], tables[:1])[0][0]:
            raise without_header(str(tables[0]), table, column)
        question = f'only the column {name!r} names files of {finder.name}, without their suffix'
        questions.ask(question, f'{name!r} is the image', '--image-column', name)
    return column, found, left_out


def _counts_rows(table: Table, column: int) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …"""
    cells = list(map(flag, table.column(column)))
    return cells in ([str(row + start) for row in range(len(cells))] for start in (0, 1))


def _differ(first: list[Found | None], second: list[Found | None]) -> bool:
    """Whether two columns name different files in a row."""
    return any(a and b and a.path != b.path for a, b in zip(first, second))


def _choose_labels(
    table: Table, named: list[int], rest: list[int], choices: Choices, repeated: bool,
    questions: Questions,
) -> tuple[list[int], bool]:  # fmt: skip
    """The columns of labels, and whether they are one for each label."""
    header, file = table.header, table.places[0][0]
    seen = contents_of(table, named or rest, choices)
    values, flags = seen.values, seen.flags
    decided = bool(choices.present or choices.absent)
    if named:
        are_flags = flags and all(i in flags or says_nothing(values[i]) for i in named)
        are_flags = are_flags and seen.texts != named  # a column 'labels' with yes names labels
        return named, bool(decided or choices.sep is None and are_flags)
    if seen.texts and not decided:
        return _choose_texts(header, seen, questions), False
    said = {flag(value) for value in [*choices.present, *choices.absent]} | seen.unknown
    if flags or decided:
        rest = [
            i for i in rest
            if i in flags or values[i] <= said or not ABOUT_IMAGE.fullmatch(plain_name(header[i]))
        ]  # fmt: skip
    rest = [i for i in rest if header[i]]  # one without a name is an index
    if not rest:
        unnamed = ' (one without a name is taken for an index)' if '' in header else ''
        raise ValueError(f'{file}: no column is left for labels, of {header}{unnamed}')
    if decided:
        return rest, True
    classes = [i for i in flags if i in rest and is_class(header[i], values[i], i in seen.called)]
    classes = [
        i
        for i in classes
        if values[i] <= PRESENT | ABSENT or not _counts_classes(table, i, classes)
    ]
    others = [i for i in rest if i not in classes]
    is_of_label = repeated and len(classes) == 1 and others  # it may say whether a label is there
    if classes and choices.sep is None and not is_of_label:
        _ask_of_others(table, others, classes, questions)
        return classes, True
    called = [i for i in rest if i in seen.called]
    if called:
        names = [header[i] for i in called]
        these = 'each of ' * (len(names) > 1) + show(names)
        question = f"{these} may be a class, or its values the names of classes (--sep '')"
        questions.ask(question, 'it is a class', '--label-columns', *names)
        return called, True
    words = [i for i in rest if i not in flags]
    words = words or rest * (choices.sep is not None)
    if not words:
        these = show([header[i] for i in rest])
        raise ValueError(
            f'{file}: none of the columns {these} looks like labels or like a class; '
            '--label-columns NAME … says which are'
        )
    return _choose_words(table, words, seen, questions, choices.sep is not None)


def _counts_classes(table: Table, column: int, classes: list[int]) -> bool:
    """Whether a column is the number of classes that others say are there."""
    others = [i for i in classes if i != column]
    return all(
        flag(cells[column]) == str(sum(flag(cells[i]) in PRESENT for i in others))
        for cells in table.rows
    )


def _choose_texts(header: list[str], seen: Contents, questions: Questions) -> list[int]:
    """Those of some columns whose cells are the labels."""
    texts = seen.texts
    if len(texts) > 1:
        question = f'the columns {show([header[i] for i in texts])} could all hold the labels'
        numbered = [i for i in texts if label_name(header[i])[1]]
        if len(numbered) < len(texts) - 1:  # as in label, label_2, label_3
            texts = [min(texts, key=lambda i: all(map(is_number, seen.values[i])))]
        names = [header[i] for i in texts]
        assumed = f'{show(names)} {"does" if len(names) == 1 else "do"}'
        questions.ask(question, assumed, '--label-columns', *names)
    return texts


def _ask_of_others(
    table: Table, others: list[int], classes: list[int], questions: Questions
) -> None:
    """Ask whether columns next to those of classes are none."""
    header, cells = table.header, []
    for i in others:
        filled = [cell for cell in table.column(i) if cell] or ['']
        odd = (cell for cell in filled if not looks_like_flags({'0', flag(cell)}, set()))
        cells.append(f'{header[i]!r} ({next(odd, filled[0])[:20]!r}, …)')
    if others:
        questions.ask(
            f'the columns {first_names(cells, 9)} do not look like classes, and '
            f'{first_names([header[i] for i in classes], 5, repr)} do; --label-columns '
            'NAME … says which are',
            'that is so',
            *('--ignore-columns', *(header[i] for i in others)),
        )


def _choose_words(
    table: Table, rest: list[int], seen: Contents, questions: Questions, is_text: bool
) -> tuple[list[int], bool]:
    """The column of labels among some that are not called so, or all if they hold two values."""
    header, values, unknown = table.header, seen.values, seen.unknown
    whole = [i for i in rest if not holds_fractions(values[i])]
    if is_text or len(rest) == 1:  # '1,2' may be two labels
        whole = whole or rest
    words = [i for i in whole if not all(is_number(value) for value in values[i])]
    if len(rest) == 1 and words:
        return rest, False
    these = show([header[i] for i in rest])
    named = [i for i in words if values[i] - NO - ABSENT == {flag(header[i])}]
    if len(named) > 1:
        names = [header[i] for i in named]
        present = {flag(name) for name in names}
        absent = set().union(*(values[i] for i in named)) - present
        options = ['--label-columns', *names, '--present', *sorted(present)]
        options += ['--absent', *sorted(absent)] if absent else []
        question = f'the columns {show(names)} hold their own names'
        questions.ask(question, 'each is a class and its name says that it is there', *options)
        return named, True
    gaps = unknown or UNKNOWN & set().union(*(values[i] for i in rest))
    marks = _two_values(table, rest, gaps) if len(rest) > 1 else ()
    if marks:
        question = f'the columns {these} hold {show([*marks, *sorted(gaps)])}'
        assumed = f'each is a class and {marks[0]!r} says that it is there'
        options = ['--present', marks[0], '--absent', *marks[1:]]
        if gaps:
            assumed += f' and {show(sorted(gaps))} that it is unknown'
            options += ['--unknown', *sorted(gaps)]
        questions.ask(question, assumed, *options)
        return rest, True
    if not whole:
        number = next(cell for cell in table.column(rest[0]) if is_fraction(flag(cell)))
        raise ValueError(
            f'{table.places[0][0]}: the columns {these} hold numbers such as {number!r}, and a '
            'label is 1 (there) or 0 (not there): round them, or say by --present, --absent and '
            '--unknown what each means; --label-columns NAME … says that cells are labels'
        )
    column = min(
        whole,
        key=lambda i: (
            len(values[i]) == 1,
            not any(re.match(r'\[.*[^\W\d]', value) for value in values[i]),  # a list of names
            len(values[i]) * 4 > len(table.rows) * 3,
            i not in words,
            _mostly_blank(table, i),
            len(values[i]),
        ),
    )
    chosen = [i for i in words if name_stem(header[i]) == name_stem(header[column])]  # type1, type2
    chosen = chosen if column in chosen else [column]
    several = ', or several do' * (len(rest) > 1)
    question = f'one of the columns {these} may hold the labels{several}'
    names = [header[i] for i in chosen]
    assumed = f'{show(names)} {"does" if len(names) == 1 else "do"}'
    questions.ask(question, assumed, '--label-columns', *names)
    return chosen, False
