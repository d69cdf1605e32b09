"""Which rows of a table are of which image."""

from mlic.names import first_names, short

from .columns import Columns
from .finder import ImageFinder
from .table import Table


def group_rows(
    table: Table, columns: Columns, finder: ImageFinder, skip_missing: bool
) -> tuple[dict[str, list[int]], int]:
    """{image: its rows}, and the number of rows without one.

    Raises:
        ValueError: If images are missing (unless skipped), a name means several files, or two
            names mean one; names the lines.
    """
    missing = [row for row, found in enumerate(columns.found) if found is None]
    _check_missing(table, columns, missing, finder, skip_missing)
    rows_of: dict[str, list[int]] = {}
    for row, found in enumerate(columns.found):
        if found:
            rows_of.setdefault(found.path, []).append(row)
    column = table.column(columns.image)
    for path, (first, *others) in rows_of.items():
        for row in others:
            if columns.found[row].name != columns.found[first].name:
                raise ValueError(
                    f'{short(column[first])} ({table.line(first)}) and {short(column[row])} '
                    f'({table.line(row)}) would both be the image {path}, and one of them may be '
                    'missing: let an image have one name'
                )
    return rows_of, len(missing)


def _check_missing(
    table: Table, columns: Columns, missing: list[int], finder: ImageFinder, skip_missing: bool
) -> None:
    """ValueError that names the images that are not there."""
    column = table.column(columns.image)
    files = finder.files
    such = f', such as {files[0]!r}' if files else ''
    tables = [table.places[row][0] for row in missing]
    meant = finder.files_of([column[row] for row in missing], tables, columns.left_out)
    several = [(row, paths) for row, paths in zip(missing, meant) if len(paths) > 1]
    if several:
        row, paths = several[0]
        raise ValueError(
            f'{len(several)} of {len(table.rows)} names mean several files of {finder.name} each, '
            f'such as {short(column[row])} ({table.line(row)}): {first_names(paths, 2)}; include '
            'their folders, or rename files'
        )
    if len(missing) == len(table.rows):
        raise ValueError(
            f'none of the {len(missing)} images of column {table.header[columns.image]!r} is in '
            f'{finder.name}, which has {len(files)} image files{such}; first: '
            f'{short(column[0])} ({table.line(0)})'
        )
    blank = [row for row in missing if not column[row]]
    if blank and not skip_missing:
        raise ValueError(
            f'{len(blank)} of {len(table.rows)} rows name no image, the first in '
            f'{table.line(blank[0])}: where a spreadsheet merged cells, write the name into each '
            'row. --skip-missing continues without these rows'
        )
    if missing and not skip_missing:
        names = [f'{short(column[row])} ({table.line(row)})' for row in missing]
        raise ValueError(
            f'{len(missing)} of {len(table.rows)} images are not in {finder.name}: '
            f'{first_names(names, 5)}; it has {len(files)} image files{such}. --skip-missing '
            'continues without them'
        )
