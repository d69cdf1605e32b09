"""Tables of what is known of images that are to be predicted."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from mlic.names import first_names

from .cells import MARKS_IN_NAMES, marks_between
from .choices import Choices, Undecided
from .columns import IMAGE_NAMES
from .contents import label_name
from .finder import ImageFinder, clean
from .flags import BLANK, UNKNOWN, flag, is_class, looks_like_flags, plain_name, says_nothing
from .labels import NO_LABEL, normalise
from .rows import read_images
from .split_columns import MARKED_SPLITS, SPLIT_COLUMNS
from .splits import Image
from .table import Table, read_tables

LONGEST = 900  # characters of a message
FORM = (
    'a table of known labels has a column image, and a column for each class that is known of '
    'some image, with 1 (present), 0 (absent) or blank; or a column labels with what is present'
)


def read_known(
    path: Path, images: Sequence[str], classes: Sequence[str]
) -> tuple[list[dict[str, bool]], list[str]]:
    """What a table says of images: which of the classes they have, and which they have not.

    It is read as the tables of ``from_csv.py`` are, but that whatever it does not say is not known:
    blank cells, and the classes that a list does not have.

    Args:
        path (Path): A table with a header.
        images (Sequence[str]): Paths and addresses. The table may name others, too.
        classes (Sequence[str]): Names.

    Returns:
        tuple[list[dict[str, bool]], list[str]]: Of each image {class: whether it is there}; and
            lines that say what was taken for what.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not such a table, names none of the images, or something that is not a
            class; one line.
    """
    try:
        return _read(path, images, classes)
    except ValueError as error:
        text = str(error)
        if isinstance(error, Undecided):
            text = f'{text}; {FORM}'
        if str(path) not in text:
            text = f'{path}: {text}'
        if len(text) > LONGEST:  # cells may be of any length
            text = f'{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}'
        raise ValueError(text) from error


def _read(
    path: Path, images: Sequence[str], classes: Sequence[str]
) -> tuple[list[dict[str, bool]], list[str]]:
    """:func:`read_known`, with the errors of the readers of tables."""
    table = read_tables([path])
    sources = _by_name(images)
    finder = ImageFinder(Path(), list(sources), 'the list of images to predict')
    named = _image_columns(table, finder, classes)
    class_set = {*classes}
    columns = [name for name in table.header if name in class_set and name not in named]
    _check_columns(table, columns, classes)
    splits = {*SPLIT_COLUMNS, *MARKED_SPLITS}  # of training
    choices = Choices(
        image=named[0] if len(named) == 1 else None,
        labels=columns,
        ignored=[x for x in table.header if plain_name(x) in splits and x not in class_set],
        unknown=sorted(BLANK | UNKNOWN) if columns else (),
        sep=None if columns else _separator(table, class_set),
        unlisted='absent' if columns else 'unknown',
    )
    found, _, lines = read_images(table, finder, choices, skip_missing=True)
    known: list[dict[str, bool]] = [{} for _ in images]
    for image in found:
        _check_names(image, classes, class_set)
        for index in sources[image.path]:
            known[index] = _known_of(image, columns or classes, not columns)
    # of training, which the reader is for
    lines = [x for x in lines if not re.search(r'left out$|--classes|different splits', x)]
    count, told = sum(map(len, known)), sum(map(bool, known))
    lines.append(f'known labels: {count}, of {told} of {len(images)} images')
    return known, lines


def _separator(table: Table, classes: set[str]) -> str | None:
    """'' if a class is called like two others and each cell is one class; None: found out."""
    columns = [i for i, name in enumerate(table.header) if label_name(name)]
    cells = {normalise(cell) for i in columns for cell in table.column(i)} - {''}
    return '' if cells <= classes and marks_between(cells, MARKS_IN_NAMES) else None


def _image_columns(table: Table, finder: ImageFinder, classes: Sequence[str]) -> list[str]:
    """Those that are called so; one that is called like a class, too, if its cells name images."""
    named = [name for name in table.header if plain_name(name) in IMAGE_NAMES]
    files = [path for path, _ in table.places]

    def names_images(name: str) -> bool:
        cells = table.column(table.find(name))
        has_flags = looks_like_flags({'0', *map(flag, cells)}, set())
        return not has_flags and any(finder.find_all(cells, files)[0])

    certain = [name for name in named if name not in classes or names_images(name)]
    return certain or named[: len(named) == 1]


def _by_name(images: Sequence[str]) -> dict[str, list[int]]:
    """{name: places} of images; addresses that only their queries tell apart keep these."""
    names = [clean(image) for image in images]
    written: dict[str, set[str]] = {}
    for name, image in zip(names, images):
        written.setdefault(name, set()).add(image)
    places: dict[str, list[int]] = {}
    for index, (name, image) in enumerate(zip(names, images)):
        if len(written[name]) > 1:
            name = clean(image, [part.lower() for part in image.split('/') if '?' in part])
        places.setdefault(name, []).append(index)
    return places


def _check_columns(table: Table, columns: list[str], classes: Sequence[str]) -> None:
    """ValueError if those of classes hold something else, or another one looks like a class."""
    values = {
        name: {flag(cell) for cell in table.values(index)}
        for index, name in enumerate(table.header)
    }
    file = table.places[0][0]
    if columns and all(says_nothing(values[name]) for name in columns):
        raise ValueError(f'{file}: no cell says what is known; {FORM}')
    for name in columns:
        odd = [cell for cell in values[name] if not looks_like_flags({'0', cell}, set())]
        if odd:
            raise ValueError(f'{file}: the column {name!r} has {min(odd)!r}; {FORM}')
    flags = [
        name for name in table.header
        if plain_name(name) not in IMAGE_NAMES and looks_like_flags(values[name], set())
    ]  # fmt: skip
    has_lists = any(label_name(name) and name not in flags for name in table.header)
    for name in flags if columns or not has_lists else ():
        is_label = bool(label_name(name)) and not columns
        if name not in columns and is_class(name, values[name], is_label):
            folded = {known.casefold(): known for known in classes}
            close = [folded[key] for key in get_close_matches(name.casefold(), folded)]
            similar = f' (similar: {first_names(close, form=repr)})' if close else ''
            raise ValueError(
                f'{file}: the column {name!r} is not a class of the model{similar}: write its name '
                'as the model has it, or take the column out'
            )


def _check_names(image: Image, classes: Sequence[str], class_set: set[str]) -> None:
    """ValueError if a list has what is not a class."""
    odd = sorted((image.labels | image.absent | image.unknown) - class_set)
    if odd:
        raise ValueError(
            f'{image.where}: {odd[0]!r} is not a class of the model, which has '
            f'{first_names(list(classes), 5, repr)}'
        )


def _known_of(image: Image, names: Sequence[str], is_list: bool) -> dict[str, bool]:
    """{class: whether it is there} of the named ones that are known."""
    unknown = {*image.unknown_of(list(names))}
    # a list of which the reader made no label: 'No Finding', which may be a class of the model
    nothing = NO_LABEL if is_list and image.complete else ()
    return {
        name: name in image.labels or name.casefold() in nothing
        for name in names
        if name not in unknown
    }
