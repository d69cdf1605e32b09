"""What the columns of a table hold: cells of labels, flags, or neither."""

import re
from dataclasses import dataclass

from .choices import Choices
from .flags import ABSENT, PRESENT, flag, is_class, looks_like_flags, plain_name
from .table import Table

# of one label, and of several
LABEL_NAME = re.compile(
    r'(?:label|labelname|label_name|class|class_name|classname|category|tag|choice|keyword)(_?\d+)?'
    r'|(labels|finding_labels|tags|classes|categories|choices|label_names|label_list|keywords)'
)
TRUTH_VALUES = {'', '-1', *PRESENT, *ABSENT}


@dataclass
class Contents:
    """What columns hold that may be of labels, by index; ``texts`` are cells of labels."""

    values: dict[int, set[str]]
    unknown: set[str]
    flags: list[int]
    called: list[int]
    texts: list[int]


def label_name(name: str) -> re.Match | None:
    """A match if labels are called so; group 1 is its number, 2 if a cell may hold several."""
    return LABEL_NAME.fullmatch(plain_name(name).rpartition('.')[2])


def contents_of(table: Table, columns: list[int], choices: Choices) -> Contents:
    """What each of some columns may be."""
    header = table.header
    values = {i: {flag(cell) for cell in table.values(i)} for i in columns}
    unknown = {flag(value) for value in choices.unknown}
    flags = [i for i in values if looks_like_flags(values[i], unknown)]
    counts = {i: x for i, x in values.items() if _holds_counts(table, i, x, unknown)}
    # a single one may be of classes by their numbers, and two values may be 0 and 255
    if len(counts) > 1 and (flags or len(set().union(*counts.values())) > 2):
        flags += [i for i in counts if i not in flags]
    called = [i for i in columns if label_name(header[i])]
    numbered = [i for i in called if label_name(header[i])[1]]
    marks = set().union(*(values[i] for i in numbered))
    are_classes = choices.sep is None and looks_like_flags(marks, unknown)
    are_classes = are_classes and marks.isdisjoint('23456789')  # numbers of labels, or of objects
    if are_classes and len(numbered) > 1:
        called = [i for i in called if i not in numbered]
    texts = [
        i for i in called
        if not (are_classes if i in numbered else i in flags and values[i] <= TRUTH_VALUES)
    ]  # fmt: skip
    if choices.sep is not None:  # which is for cells of labels
        texts = texts or called
    return Contents(values, unknown, flags, called, texts)


def _holds_counts(table: Table, column: int, values: set[str], unknown: set[str]) -> bool:
    """Whether a column holds 0 and numbers up to three digits, as of objects and not of rows."""
    name = table.header[column]
    small = {'1' if re.fullmatch(r'\d{1,3}', value) else value for value in values}
    return (
        '0' in values
        and len(values) < len(table.rows)
        and looks_like_flags(small, unknown)
        and is_class(name, values, bool(label_name(name)))
    )
