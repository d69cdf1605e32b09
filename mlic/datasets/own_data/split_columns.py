"""Which column of a table, or which tables, say what images are for training."""

from mlic.names import first_names

from .choices import Choices, Questions, show
from .flags import ABSENT, PRESENT, flag, plain_name
from .splits import SPLIT_NAMES, find_split_names
from .table import Table

SPLIT_COLUMNS = 'split', 'subset', 'partition'
PERHAPS_SPLITS = 'set', 'phase', 'usage', 'dataset', 'ml_use', 'data_split', 'fold'
MARKED_SPLITS = {  # columns of yes and no
    **dict.fromkeys(('is_valid', 'is_val', 'is_validation'), ('train', 'val')),
    'is_test': ('train', 'test'),
    'is_train': ('test', 'train'),
}
NUMBERED_SPLITS = {'0': 'train', '1': 'val', '2': 'test'}  # CelebA's column partition


def split_meanings(name: str, cells: set[str]) -> dict[str, str]:
    """The split that each value of a column of splits means; values as of :func:`flag`."""
    marked = MARKED_SPLITS.get(plain_name(name))
    if marked and not cells <= {*SPLIT_NAMES}:
        return {cell: marked[cell in PRESENT] for cell in sorted(PRESENT | ABSENT)}
    return NUMBERED_SPLITS if cells == {*NUMBERED_SPLITS} else SPLIT_NAMES


def choose_split(
    table: Table, choices: Choices, others: set[int], questions: Questions
) -> int | None:
    """The column that says which images are for training."""
    if choices.split is not None:
        return table.find(choices.split)
    found = []
    for i, name in enumerate(table.header):
        name = plain_name(name)
        if i in others:
            continue
        cells = {flag(cell) for cell in table.values(i)}
        if (
            name in {*SPLIT_COLUMNS, *MARKED_SPLITS}
            or name in PERHAPS_SPLITS
            and cells <= {*SPLIT_NAMES}
        ):
            found.append(i)
    if len(found) > 1:
        these = show([table.header[i] for i in found])
        question = f'{these} all say which images are for training'
        name = table.header[found[0]]
        questions.ask(question, f'{name!r} does', '--split-column', name)
    for i in found[:1]:
        (meanings, row), name = _meanings_of(table, i), table.header[i]
        if row is not None:
            question = f'{table.line(row)}: split {table.rows[row][i]!r} is not one of '
            question += ', '.join(meanings)
            questions.ask(question, f'{name!r} does not matter', '--ignore-columns', name)
    return found[0] if found else None


def read_splits(table: Table, column: int | None) -> list[str | None]:
    """The split of every row; of tables called like splits, or in such folders, theirs."""
    if column is None:
        names = find_split_names({path for path, _ in table.places})
        without = sorted(str(path) for path, split in names.items() if split is None)
        if without and len(without) < len(names):
            raise ValueError(
                f'no split in the name of {first_names(without)}, though other tables have one: '
                'call it train_2.csv, say, or give all tables a column split (train, val, test)'
            )
        given = len(names) > 1 and not without
        if given and 'train' not in names.values():
            tables, splits = map(first_names, (sorted(map(str, names)), sorted({*names.values()})))
            raise ValueError(
                f'{tables}: their names say {splits}, and none says train: add the table of '
                'training images, or rename the tables to have all images split at random'
            )
        return [names[path] if given else None for path, _ in table.places]
    meanings, row = _meanings_of(table, column)
    if row is not None:
        known = first_names(meanings)
        split = table.rows[row][column]
        raise ValueError(f'{table.where(row)}: split {split!r} is not one of {known}')
    return [meanings[flag(cell)] for cell in table.column(column)]


def _meanings_of(table: Table, column: int) -> tuple[dict[str, str], int | None]:
    """What the cells of a column of splits mean, and the first row with one that means none."""
    cells = [flag(cell) for cell in table.column(column)]
    meanings = split_meanings(table.header[column], {*cells})
    return meanings, next((row for row, cell in enumerate(cells) if cell not in meanings), None)
