"""Draw what is in saved predictions or in a training log; the numbers go next to the picture.

    python tools/analysis_tools/plot.py pr PRED.npz --out pr.png
    python tools/analysis_tools/plot.py compare FIRST.npz SECOND.npz --out compare.png
    python tools/analysis_tools/plot.py cooccurrence PRED.npz --out cooccurrence.png
    python tools/analysis_tools/plot.py training WORK_DIR --out training.png

PRED.npz is what tools/test.py writes with --out. docs/figures.md shows when to use which.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlic.cli import arguments
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.matrices import apply_difficult_rule, class_indices
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import read_predictions
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.thresholds import of_classes, parse_score_threshold
from mlic.files import parse_json, read_text, write_csv, write_picture
from mlic.names import counted, first_names
from mlic.visualization.comparison import describe_comparison, draw_comparison
from mlic.visualization.cooccurrence import (
    conditional_shares,
    cooccurrence_order,
    draw_cooccurrence,
)
from mlic.visualization.curves import draw_pr_curves, pr_curve, thin
from mlic.visualization.training import TrainingLog, arrange_log, draw_training


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw saved predictions or a training log')
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str, *sources: str, what: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        for source in sources:
            sub.add_argument(source.split('.')[0].lower(), metavar=source, type=Path, help=what)
        arguments.add_out_argument(sub, f'{name}.png', *arguments.FIGURES)
        return sub

    saved = 'file of test.py --out'
    pr = command('pr', 'precision against recall, with lines of equal F1', 'PRED.npz', what=saved)
    pr.add_argument('--classes', nargs='+', help='class names (the six most frequent)')
    arguments.add_threshold_argument(pr, 'threshold that the dots mark')
    text = 'average precision of each class in two runs'
    compare = command('compare', text, 'FIRST', 'SECOND', what=f'.npz {saved}')
    compare.add_argument(
        '--names', nargs=2, help="the runs' names (of files, and folders if needed)"
    )
    what = 'whose average precision (%(default)s)'
    compare.add_argument('--protocol', choices=PROTOCOLS, default='standard', help=what)
    text = 'which labels come together, true and predicted'
    pairs = command('cooccurrence', text, 'PRED.npz', what=saved)
    arguments.add_threshold_argument(pairs, 'lowest score of a predicted label')
    arguments.add_number(pairs, '--max-classes', 80, 'the most frequent ones')
    text = 'losses, validation and learning rate of a run'
    command('training', text, 'RUN', what='a work directory or its scalars.json')
    return parser.parse_args(argv)


def load(path: Path) -> tuple:
    """Scores, truth, ignored entries or None, and class names of a prediction file."""
    block, names = read_predictions(path)
    return (block.pred, *apply_difficult_rule(block, 'ignore'), names)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A CSV file; NaN is empty."""
    table = [header]
    for row in rows:
        cells = [f'{v:.6g}' if isinstance(v, (float, np.floating)) else v for v in row]
        table.append(['' if v != v else cell for v, cell in zip(row, cells)])
    write_csv(path, table)


def plot_pr(args: argparse.Namespace, table: Path):
    """Micro average and chosen classes."""
    pred, target, ignore, names = load(args.pred)
    chosen = class_indices(args.classes, names)
    if chosen is None:
        chosen = np.argsort(-target.sum(axis=0), kind='stable')[:6].tolist()
    threshold = of_classes(parse_score_threshold(args.threshold), names)
    everywhere = [threshold] if isinstance(threshold, float) else []
    curves, dots = [pr_curve('micro average', pred, target, ignore, everywhere)], [None]
    if curves[0] is None:
        lacking = 'known negative' if target.any() else 'positive'
        sys.exit(f'{args.pred} has no {lacking} label: no curves')
    for c in chosen:
        hidden = None if ignore is None else ignore[:, c]
        dot = np.broadcast_to(threshold, len(names))[c]
        curve = pr_curve(names[c], pred[:, c], target[:, c], hidden, [dot])
        if curve is not None:
            curves.append(curve)
            dots.append(dot)
        elif args.classes:
            lacking = 'known negatives' if target[:, c].any() else 'positives'
            sys.exit(f'class {names[c]!r} has no {lacking} in {args.pred}: no curve')
    figure = draw_pr_curves(curves, threshold if isinstance(threshold, float) else dots)
    points = ((c.name, *p) for c in curves for p in zip(*thin(c, 1000)[1:4]))
    write_table(table, ('curve', 'recall', 'precision', 'threshold'), points)
    return figure


def name_runs(first: Path, second: Path) -> list[str]:
    """The files' names, with as many folders before them as it takes to tell them apart."""
    paths = [Path(os.path.abspath(path)).with_suffix('').parts for path in (first, second)]
    for depth in range(1, max(map(len, paths))):
        names = ['/'.join(parts[-depth:]) for parts in paths]
        if names[0] != names[1]:
            return names
    return [first.stem, second.stem]


def _of_classes(run: tuple, names: list) -> tuple:
    """What :func:`load` returns, of some classes."""
    columns = [run[3].index(name) for name in names]
    pred, target, ignore = (x if x is None else x[:, columns] for x in run[:3])
    return pred, target, ignore if ignore is not None and ignore.any() else None, names


def plot_compare(args: argparse.Namespace, table: Path):
    """Two runs on the same images, in the classes of both."""
    one, other = load(args.first), load(args.second)
    names = one[3]
    if names != other[3]:
        names = [name for name in one[3] if name in {*other[3]}]
        if not names:
            sys.exit(f'{args.first} and {args.second} have no class in common')
        left_out = first_names(sorted({*one[3]} ^ {*other[3]}))
        print(
            f'{counted(len(names), "class")} of both' + f'; left out: {left_out}' * bool(left_out)
        )
        one, other = (_of_classes(run, names) for run in (one, other))
    pred, target, ignore, _ = one
    if not np.array_equal(target, other[1]) or not np.array_equal(ignore, other[2]):
        sys.exit(
            f'{args.first} and {args.second} have different images or labels, or a different order'
        )
    first, second = (
        MLICMetric.calculate_per_class(scores, target, args.protocol, ignore=ignore)['ap']
        for scores in (pred, other[0])
    )
    support = target.sum(axis=0)
    runs = args.names or name_runs(args.first, args.second)
    figure = draw_comparison(first, second, support, names, runs)
    header = ('class', 'positives', *(f'AP of {run}' for run in runs), 'difference')
    order = np.argsort(first - second, kind='stable')
    rows = ((names[c], support[c], first[c], second[c], second[c] - first[c]) for c in order)
    write_table(table, header, rows)
    print(f'{describe_comparison(first, second, runs)} ({args.protocol})')
    return figure


def plot_cooccurrence(args: argparse.Namespace, table: Path):
    """Labels against predictions."""
    pred, target, ignore, names = load(args.pred)
    threshold = of_classes(parse_score_threshold(args.threshold), names)
    # of thousands of classes only those that are drawn
    order = cooccurrence_order(target, args.max_classes)
    pred, target = pred[:, order], target[:, order]
    ignore = None if ignore is None else ignore[:, order]
    decision = pred >= np.broadcast_to(threshold, len(names))[order].astype(pred.dtype)
    names = [names[c] for c in order]
    truth, predicted = (conditional_shares(present, ignore) for present in (target, decision))
    figure = draw_cooccurrence(truth, predicted, names, range(len(order)))
    pairs = itertools.permutations(range(len(order)), 2)
    pairs = sorted(pairs, key=lambda p: -np.nan_to_num(predicted[p] - truth[p]))
    header = ('class', 'with', 'share in labels', 'share in predictions', 'difference')
    rows = ((names[i], names[j], truth[i, j], predicted[i, j], predicted[i, j] - truth[i, j])
            for i, j in pairs)  # fmt: skip
    write_table(table, header, rows)
    return figure


def read_log(path: Path) -> TrainingLog:
    """The log of a run.

    Args:
        path (Path): A ``scalars.json``, or a work directory: all of its runs, where a run
            that was resumed replaces what the one before had logged beyond that point. A last line
            that was not finished is left out, and the output says so.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not of LoggerHook, or nothing was trained.
    """
    files = sorted(path.glob('*/vis_data/scalars.json')) if path.is_dir() else [path]
    train, val = [], []
    for file in files:
        new_train, new_val = _read_rows(file)
        if new_train:
            first = new_train[0]
            train = [row for row in train if row['iter'] < first['iter']] + new_train
            # a validation's step is its epoch, or the iteration of a run without epochs
            val = [row for row in val if row['step'] < first.get('epoch', first['iter'])]
        if new_val:
            val = [row for row in val if row['step'] < new_val[0]['step']] + new_val
    if not files:
        raise FileNotFoundError(f'{path} has no */vis_data/scalars.json: not a work directory?')
    if not train:
        raise ValueError(f'{path}: no training iteration is logged')
    try:
        return arrange_log(train, val)
    except (ArithmeticError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: its epochs and iterations do not fit together') from error


def _read_rows(file: Path) -> tuple[list, list]:
    """Rows of training and of validation; those of the latter have no learning rate."""
    train, val = [], []
    lines = read_text(file).splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        where = f'{file}, line {number}'
        try:
            row = parse_json(line, where)
        except ValueError:
            if number == 1 or number < len(lines) or line.endswith('\n'):
                raise
            print(f'{where} is left out: a run that was killed did not finish it')
            break
        if not isinstance(row, dict):
            raise ValueError(f'{where}: not a JSON object of a log')
        if 'iter' in row and 'loss' in row:
            train.append(row)
        elif 'step' in row and any('/' in name for name in row):
            val.append(row)
    return train, val


def plot_training(args: argparse.Namespace, table: Path):
    """The log of a run."""
    log = read_log(args.run)
    rows = [('train', row) for row in log.train] + [('val', row) for row in log.val]
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    cells = ([part, *(row.get(name, '') for name in names)] for part, row in rows)
    write_table(table, ['part', *names], cells)
    return draw_training(log)


COMMANDS = dict(
    pr=plot_pr, compare=plot_compare, cooccurrence=plot_cooccurrence, training=plot_training
)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = args.out.with_suffix('.csv')
    arguments.keep_inputs([table], getattr(args, 'threshold', None))
    figure = COMMANDS[args.command](args, table)
    write_picture(args.out, figure)
    print(f'table: {table}')
    print(f'picture: {args.out}')
