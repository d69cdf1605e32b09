"""Measure how label embeddings tell classes apart: tools/analysis_tools/measure_embeddings.py

    measure_embeddings.py CONFIG CHECKPOINT… [--against CONFIG CHECKPOINT…]… --out embeddings.json

Measures the vectors of true (image, class) pairs of the test set, before and after the head's
projector. Controls are the pooled features of the backbone and pairs of absent labels. Each measure
is a mean over classes with the interval of a bootstrap over images; several checkpoints of a
config are averaged. Differences to the other configs are those of the same pairs and draws.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlic.apis.label_pairs import LabelPairs, draw_pairs, pair_vectors
from mlic.apis.open_run import OpenRun
from mlic.cli import arguments
from mlic.cli.run_data import open_embeddings, spread
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.bootstrap import bootstrap_weights, mean_over_classes, paired_interval
from mlic.evaluation.embedding_measures import MEASURES, class_measures, presence_ap
from mlic.files import write_json
from mlic.installation import find_config
from mlic.names import first_names

ABSENT = 'embedding of absent labels'


class Sample(NamedTuple):
    """What is measured, the same of every run: pairs, and weights (N, 1 + R), ones first."""

    classes: list[str]
    length: int
    files: list[tuple]
    indices: list[int]
    present: LabelPairs
    absent: LabelPairs
    weights: np.ndarray


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure how label embeddings tell classes apart')
    arguments.add_config_argument(parser)
    what = 'checkpoint files or work directories, of several seeds'
    arguments.add_checkpoint_arguments(parser, nargs='+', help=what)
    parser.add_argument(
        '--against',
        nargs='+',
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a model to subtract: as many checkpoints, of the same seeds in the same order; may '
        'be repeated',
    )
    parser.add_argument('--names', nargs='+', help="the configs' names in the table (of the files)")
    arguments.add_out_argument(parser, 'embeddings.json', '.json')
    arguments.add_number(parser, '--num', 2000, arguments.SPREAD)
    arguments.add_number(parser, '--max-pairs', 3000, 'true labels, drawn evenly over classes', 4)
    arguments.add_number(parser, '--neighbours', 5, 'neighbours of the k-NN')
    arguments.add_number(parser, '--resamples', 1000, 'draws of the bootstrap')
    arguments.add_seed(parser, 'of pairs and bootstrap')
    arguments.add_cfg_options(parser, 'test_dataloader.dataset.split=val')
    args = parser.parse_args(argv)
    args.runs = [(args.config, args.checkpoint)]
    for config, *checkpoints in args.against:
        if len(checkpoints) != len(args.checkpoint):
            parser.error(
                f'--against {config}: needs as many checkpoints as the first config, '
                f'{len(args.checkpoint)}, got {len(checkpoints)}'
            )
        args.runs.append((find_config(config), checkpoints))
    args.names = args.names or [str(config) for config, _ in args.runs]
    if len(args.names) != len(args.runs):
        parser.error(f'--names: needs {len(args.runs)}, one for each config, got {len(args.names)}')
    return args


def draw_sample(run: OpenRun, dataset, args: argparse.Namespace) -> Sample:
    """The pairs to measure, of classes that have at least two."""
    indices = spread(len(dataset), args.num)
    number = len(indices)
    present, absent = draw_pairs(dataset, indices, args.max_pairs, args.seed)
    count = np.bincount(present.label, minlength=len(run.classes))
    print(f'{len(present.label)} pairs of {number} of {len(dataset)} test images')
    for pairs, what in ((1, 'one pair'), (0, 'none')):
        left_out = [name for name, n in zip(run.classes, count) if n == pairs]
        if left_out:
            print(f'left out, with {what}: {first_names(left_out, len(left_out))}')
    kept = np.flatnonzero(count > 1)
    if len(kept) < 2:
        raise ValueError(f'{len(kept)} classes have two pairs or more: there is nothing to compare')
    present, absent = (
        LabelPairs(*(part[np.isin(pairs.label, kept)] for part in pairs))
        for pairs in (present, absent)
    )
    draws = bootstrap_weights(number, args.resamples, args.seed)
    weights = np.concatenate([np.ones((number, 1), dtype=draws.dtype), draws], axis=1)
    files = image_files(dataset, indices)
    return Sample(run.classes, len(dataset), files, indices, present, absent, weights)


def image_files(dataset, indices: Sequence[int]) -> list[tuple]:
    """What tells images apart: the names of their files, where they have some, and their labels."""
    infos = [dataset.get_data_info(index) for index in indices]
    return [(Path(info.get('img_path', '')).name, *info['gt_label']) for info in infos]


def measure(run: OpenRun, dataset, sample: Sample, args: argparse.Namespace) -> dict:
    """For each kind of vectors each measure, (C, 1 + R) of the classes that are kept."""

    def rows(pairs: LabelPairs) -> np.ndarray:
        return sample.weights[np.searchsorted(sample.indices, pairs.image)]

    both = LabelPairs(*map(np.concatenate, zip(sample.present, sample.absent)))
    is_present = np.arange(len(both.label)) < len(sample.present.label)
    found = {}
    for kind, vectors in pair_vectors(run.model, dataset, both).items():
        settings = dict(neighbours=args.neighbours, seed=args.seed)
        own = class_measures(vectors[is_present], *sample.present, rows(sample.present), **settings)
        own['presence mAP'] = presence_ap(vectors, *both, is_present, rows(both))
        found[kind] = own
        if kind == 'embedding' and sample.absent.label.size:
            absent = class_measures(
                vectors[~is_present], *sample.absent, rows(sample.absent), **settings
            )
            found[ABSENT] = absent
    return found


def measure_all(args: argparse.Namespace) -> tuple[Sample, list[list[dict]]]:
    """The measures of each config's checkpoints, on the pairs of the first."""
    sample, measured = None, []
    for config, checkpoints in args.runs:
        measured.append([])
        for checkpoint in checkpoints:
            run, dataset = open_embeddings(args, config, checkpoint)
            if sample is None:
                sample = draw_sample(run, dataset, args)
            same = (run.classes, len(dataset)) == (sample.classes, sample.length)
            if not same or sample.files != image_files(dataset, sample.indices):
                raise ValueError(f'{config}: other test images or classes than of the first')
            measured[-1].append(measure(run, dataset, sample, args))
    return sample, measured


def summarise(measured: list[list[dict]]) -> list[dict]:
    """A row for each kind of vectors and measure, with a cell for each config.

    A cell has ``value``, ``interval`` and ``seeds`` (each checkpoint's value); those after the
    first ``difference`` (the first minus it) and ``difference_interval``. None where there are no
    such vectors, or no class has a value, as one that is absent from one image alone. Draws have
    fewer different images than the test set, and so other values on average (fewer near
    neighbours): they are moved to have the measure as their mean.
    """
    rows = []
    for kind in dict.fromkeys(kind for runs in measured for kind in runs[0]):
        for name in MEASURES:
            if not any(name in runs[0].get(kind, ()) for runs in measured):
                continue
            cells, first = [], None
            for runs in measured:
                found = [run[kind][name] for run in runs if name in run.get(kind, ())]
                means = [mean_over_classes(values) for values in found]  # (1 + R,)
                if not found or any(np.isnan(m[0]) or np.isnan(m[1:]).all() for m in means):
                    cells.append(None)
                    continue
                draws = [mean[1:] - np.nanmean(mean[1:]) + mean[0] for mean in means]
                seeds = [float(mean[0]) for mean in means]
                cell = dict(value=float(np.mean(seeds)), seeds=seeds)
                cell['interval'] = paired_interval(draws, np.zeros_like(draws))
                if first and runs is not measured[0]:
                    cell['difference'] = first[0] - cell['value']
                    cell['difference_interval'] = paired_interval(first[1], draws)
                elif runs is measured[0]:
                    first = cell['value'], draws
                cells.append(cell)
            rows.append(dict(vectors=kind, measure=name, configs=cells))
    return rows


def describe(rows: list[dict], names: Sequence[str]) -> str:
    """The rows as a table in Markdown."""
    table = [['vectors', 'measure', names[0]]]
    for name in names[1:]:
        table[0] += [name, f'{names[0]} − {name}']
    for row in rows:
        cells = [row['vectors'], row['measure']]
        for number, cell in enumerate(row['configs']):
            text = '{value:.3f} ({interval[0]:.3f} … {interval[1]:.3f})'
            cells.append(text.format(**cell) if cell else '–')
            if number:
                text = '{0:+.3f} ({1:+.3f} … {2:+.3f})'
                known = cell and 'difference' in cell
                ends = (cell['difference'], *cell['difference_interval']) if known else ()
                cells.append(text.format(*ends) if known else '–')
        table.append(cells)
    table.insert(1, ['---'] * len(table[0]))
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in table)


def class_values(measured: list[list[dict]], sample: Sample) -> list[dict]:
    """Each config's values of single classes, the mean of its checkpoints; NaN is None."""
    names = [sample.classes[c] for c in np.unique(sample.present.label)]
    found = []
    for runs in measured:
        found.append({})
        for kind, values in runs[0].items():
            if kind == ABSENT:
                continue
            for name in values:
                mean = np.mean([run[kind][name][:, 0] for run in runs], axis=0)
                numbers = [None if np.isnan(v) else round(float(v), 4) for v in mean]
                found[-1].setdefault(kind, {})[name] = dict(zip(names, numbers))
    return found


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sample, measured = measure_all(args)
    rows = summarise(measured)
    print(describe(rows, args.names))
    settings = ('num', 'max_pairs', 'neighbours', 'resamples', 'seed')
    content = dict(
        measures=MEASURES,
        settings={name: getattr(args, name) for name in settings},
        images=len(sample.indices),
        pairs=len(sample.present.label),
        configs=[
            dict(name=name, config=str(config), checkpoints=checkpoints)
            for name, (config, checkpoints) in zip(args.names, args.runs)
        ],
        rows=rows,
        classes=class_values(measured, sample),
    )
    write_json(args.out, content)
    print(f'numbers: {args.out}')
