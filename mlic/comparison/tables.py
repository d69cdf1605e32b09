"""What a comparison says: a table with intervals, and the differences of each class."""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from mlic.evaluation.bootstrap import bootstrap_weights, mean_ap, paired_interval
from mlic.evaluation.matrices import apply_difficult_rule, class_indices
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import read_predictions
from mlic.files import write_csv, write_json, write_picture, write_text
from mlic.names import counted
from mlic.visualization.comparison import draw_comparison
from mlic.visualization.gains import Gain, draw_gains
from mlic.visualization.page import picture_of, stack_pages
from mlic.visualization.sweep import Result, draw_sweep

from .runs import Run
from .tuning import Rate

METRICS = ('mAP', 'CF1', 'OF1')
TABLES = ('table.md', 'table.csv', 'table.tex', 'results.json')
LATEX = {  # what LaTeX does not take for text
    **{mark: f'\\{mark}' for mark in '&%$#_{}'},
    **{mark: f'${mark}$' for mark in '<>|'},
    **{mark: f'{{{mark}}}' for mark in '[*'},  # which would belong to the end of the row above
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '±': r'$\pm$',
    '−': '$-$',
    '–': '--',
    '…': r'\ldots{}',
}
PICTURES = ('per_class.png', 'gains.png', 'sweep.png')


@dataclass
class Summary:
    """A config over its seeds, in percent.

    Args:
        name (str): Of the config.
        seeds (list[int]): Those that are done.
        metrics (dict): Protocol and metric, such as ``standard/mAP``, to a value for each seed.
        class_ap (list): Mean over seeds of each class's plain AP, None without positives.
        minutes (float): Training time of a run with all its starts, mean.
        commits (list[str]): Of the code.
        support (list[int]): Positives of each class.
        against (str | None): The config that it is compared with.
        difference (float | None): Of mAP (plain) to that one, over the seeds of both.
        interval (tuple | None): Its 95 % bootstrap interval over test images.
        paired (int): Number of seeds in the difference.
        rate (Rate | None): Of learning.
    """

    name: str
    seeds: list
    metrics: dict
    class_ap: list
    minutes: float
    commits: list
    support: list
    against: str | None = None
    difference: float | None = None
    interval: tuple | None = None
    paired: int = 0
    rate: Rate | None = None


def sort_out(
    runs: Sequence[Run], classes: Sequence[str] | None = None
) -> tuple[list[Run], dict[Run, str]]:
    """Those that can stand in a table with the first, and why the others cannot."""
    fitting, left_out, reference = [], {}, None
    for run in runs:
        try:
            run.read_record()
            _, *tested = _read(run, classes)
            reference = reference or tested
            if not all(map(np.array_equal, tested, reference)):
                raise _other_test_set(run, fitting[0])
        except (OSError, ValueError) as error:
            left_out[run] = str(error)
        else:
            fitting.append(run)
    return fitting, left_out


def _read(run: Run, classes: Sequence[str] | None) -> tuple:
    """Scores, targets and ignored entries (N, C), and names of the C chosen classes."""
    block, names = read_predictions(run.predictions)
    chosen = class_indices(classes, names)
    chosen = list(range(len(names))) if chosen is None else chosen
    target, ignore = apply_difficult_rule(block, 'ignore')
    ignore = None if ignore is None else ignore[:, chosen]
    return block.pred[:, chosen], target[:, chosen], ignore, [names[c] for c in chosen]


def _other_test_set(run: Run, first: Run) -> ValueError:
    return ValueError(
        f'{run.predictions} has other test images, labels or classes than {first.predictions}: '
        'give all configs the same data (--data)'
    )


def summarise(
    runs: Sequence[Run],
    protocols: Sequence[str] = ('standard',),
    classes: Sequence[str] | None = None,
    num_resamples: int = 1000,
    against: dict[str, str] | None = None,
) -> tuple[list, list]:
    """Summaries in the order of the runs' names, and the names of the evaluated classes.

    Args:
        runs (Sequence[Run]): Done ones.
        protocols (Sequence[str]): Of ``MLICMetric``.
        classes (Sequence[str], optional): Evaluate these only. Defaults to None: all.
        num_resamples (int): Of the bootstrap. Defaults to 1000.
        against (dict[str, str], optional): With which config each is compared. Defaults to None:
            all others with the first.

    Raises:
        ValueError: If the runs were tested on different images or classes.
    """
    reference, weights, samples, summaries = None, None, {}, {}
    for run in track(runs, 'intervals of runs'):
        pred, *tested = _read(run, classes)
        target, ignore, _ = tested
        if reference is None:
            reference = tested
            weights = bootstrap_weights(len(target), num_resamples)
            support = target.sum(axis=0).tolist()
        elif not all(map(np.array_equal, tested, reference)):
            raise _other_test_set(run, runs[0])
        seconds, commit = run.read_record()
        summary = summaries.setdefault(run.name, Summary(run.name, [], {}, [], 0.0, [], support))
        summary.seeds.append(run.seed)
        for protocol in protocols:
            values = MLICMetric.calculate(pred, target, protocol, ignore=ignore)
            for key, value in values.items():
                summary.metrics.setdefault(f'{protocol}/{key}', []).append(value)
        per_class = MLICMetric.calculate_per_class(pred, target, 'standard', ignore=ignore)
        summary.class_ap.append(per_class['ap'])
        summary.minutes += seconds / 60
        summary.commits = sorted({*summary.commits, *commit.split(', ')})
        samples[run.name, run.seed] = 100 * mean_ap(pred, target, weights, ignore)
    for summary in summaries.values():
        summary.class_ap = np.mean(summary.class_ap, axis=0)
        summary.minutes /= len(summary.seeds)
    first = next(iter(summaries))
    others = dict.fromkeys([name for name in summaries if name != first], first)
    _compare(summaries, samples, others if against is None else against)
    return list(summaries.values()), reference[2]


def _compare(summaries: dict[str, Summary], samples: dict, against: dict[str, str]) -> None:
    """Fill in the differences."""
    for name, other in against.items():
        if name not in summaries or other not in summaries:
            continue
        summary, base = summaries[name], summaries[other]
        shared = [seed for seed in summary.seeds if seed in base.seeds]
        if not shared:
            continue
        summary.against = other
        summary.difference = float(np.mean(seed_differences(summary, base)))
        summary.paired = len(shared)
        summary.interval = paired_interval(
            [samples[name, seed] for seed in shared], [samples[other, seed] for seed in shared]
        )


def seed_differences(summary: Summary, base: Summary) -> list[float]:
    """The difference of mAP (plain) of each seed that both have."""
    mine, theirs = (dict(zip(s.seeds, s.metrics['standard/mAP'])) for s in (summary, base))
    return [mine[seed] - theirs[seed] for seed in mine if seed in theirs]


def table_rows(summaries: Sequence[Summary]) -> list:
    """A header and a row for each config, as text."""
    keys = [k for k in summaries[0].metrics if k.split('/')[1] in METRICS]
    bases = list(dict.fromkeys(summary.against for summary in summaries if summary.against))
    one = bases[0] if bases else summaries[0].name
    minus = [f'mAP − {one}'] if len(bases) < 2 else ['difference of mAP', 'to']
    header = ['config', 'learning rate', 'seeds', *keys, *minus, '95 % interval']
    header += ['minutes', 'commit']
    rows = [header]
    for summary in summaries:
        difference, interval = '–', '–'
        if summary.difference is not None:
            difference = f'{summary.difference:+.2f}'
            interval = '{:+.2f} … {:+.2f}'.format(*summary.interval)
            if summary.paired < len(summary.seeds):
                difference += f' ({counted(summary.paired, "seed")})'
        values = [_mean_and_deviation(summary.metrics[key]) for key in keys]
        start = [summary.name, str(summary.rate or '–'), str(len(summary.seeds)), *values]
        other = [summary.against or '–'] if len(bases) > 1 else []
        start += [difference, *other, interval]
        rows.append([*start, f'{summary.minutes:.1f}', ' '.join(summary.commits)])
    return rows


def _mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and sample standard deviation over seeds."""
    if len(values) == 1:
        return f'{values[0]:.2f}'
    return f'{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}'


def latex_table(rows: Sequence[Sequence[str]]) -> str:
    """The table for a paper, of the package booktabs: without learning rates, times and commits."""
    lines = []
    for first, _, *cells, _, _ in rows:
        texts = [''.join(LATEX.get(mark, mark) for mark in cell) for cell in (first, *cells)]
        lines.append(' & '.join(re.sub(r'(?<!\S)-(?=\d)', '$-$', text) for text in texts) + r' \\')
    columns = 'l' + 'r' * (len(rows[0]) - 4)
    head = [rf'\begin{{tabular}}{{{columns}}}', r'\toprule', lines[0], r'\midrule']
    return '\n'.join([*head, *lines[1:], r'\bottomrule', r'\end{tabular}', ''])


def write_tables(summaries: Sequence[Summary], names: Sequence[str], out: Path) -> None:
    """Write ``TABLES``; ``results.json`` has every number, per seed and class."""
    rows = table_rows(summaries)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        f'| {" | ".join(cell.ljust(w) for cell, w in zip(row, widths))} |'
        for row in (rows[0], ['-' * w for w in widths], *rows[1:])
    ]
    table, csv, latex, numbers = (out / name for name in TABLES)
    write_text(table, '\n'.join(lines) + '\n')
    write_csv(csv, rows)
    write_text(latex, latex_table(rows))
    results = []
    for summary in summaries:
        class_ap = [None if np.isnan(ap) else round(float(ap), 4) for ap in summary.class_ap]
        by_name = dict(class_ap=class_ap, support=summary.support)
        by_name = {key: dict(zip(names, values)) for key, values in by_name.items()}
        results.append({**asdict(summary), **by_name})
    write_json(numbers, results)


def remove_older(out: Path, groups: Collection[str], drawn: Collection[str]) -> None:
    """Remove what an earlier comparison drew or tabulated in a folder, and this one did not."""
    older = [out / name for name in PICTURES if name not in drawn]
    for folder in out.glob('images_*'):
        title = folder.name.removeprefix('images_')
        is_title = title not in groups and re.fullmatch(r'\d+-(\d+|or-more)', title)
        # a link, or a folder with runs, is another comparison's
        is_own = folder.is_dir() and not folder.is_symlink() and not (folder / 'runs').exists()
        if is_title and is_own:
            older += [folder / name for name in TABLES]
    for path in older:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty, or not there
            path.parent.rmdir()


def draw_class_differences(summaries: Sequence[Summary], names: Sequence[str], path: Path) -> None:
    """Draw each class's AP difference to what a config is compared with; pictures, stacked.

    All have the classes in one order, that of the mean gain.
    """
    by_name = {summary.name: summary for summary in summaries}
    others = [summary for summary in summaries if summary.against]
    gains = [other.class_ap - by_name[other.against].class_ap for other in others]
    sort_by = np.mean(gains, axis=0) if len(others) > 1 else None
    pages = []
    for other in others:
        first = by_name[other.against]
        runs = first.name, other.name
        values = first.class_ap, other.class_ap, first.support
        figure = draw_comparison(*values, names, runs, sort_by)
        pages.append(picture_of(figure))
    write_picture(path, stack_pages(pages))


def draw_over_number(summaries: Sequence[Summary], word: str, path: Path) -> None:
    """Draw mAP over the number after a word in the configs' names."""
    results = [
        Result(one.name, one.metrics['standard/mAP'], one.difference, one.interval)
        for one in summaries
    ]
    write_picture(path, draw_sweep(results, word))


def draw_varied(
    summaries: Sequence[Summary],
    configs: Sequence[str],
    places: dict[str, dict[float, str]],
    path: Path,
) -> None:
    """Draw what each config gains at each value of what :func:`vary` has varied."""
    by_name = {summary.name: summary for summary in summaries}
    panels = {}
    for word, endings in places.items():
        gains = panels[word] = []
        for number, ending in endings.items():
            for config in configs[1:] or configs:
                summary = by_name.get(config + ending)
                base = summary and by_name.get(summary.against)
                if base:
                    seeds = seed_differences(summary, base)
                    mean = float(np.mean(base.metrics['standard/mAP']))
                    gains.append(Gain(config, number, seeds, summary.interval, mean))
    write_picture(path, draw_gains(panels))
