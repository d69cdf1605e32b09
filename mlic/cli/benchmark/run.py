"""Measure speed and memory of a method, as ratios."""

import argparse
import dataclasses
import os
import platform
from collections.abc import Callable, Iterator

from mlic.files import write_json

os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler counts memory, silently

import cv2
import torch
from mmengine.registry import init_default_scope

from mlic.cli import arguments

from . import evaluation, network, pipeline
from .measure import Bench, Case, Result, exponents

GROUPS = ('losses', 'neck', 'step', 'inference', 'metrics', 'data')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure speed and memory, as ratios in one run')
    what = 'what is measured (all)'
    parser.add_argument('--only', nargs='+', choices=GROUPS, default=GROUPS, help=what)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default=None, help='(cuda if there)')
    arguments.add_number(parser, '--repeats', 5, 'runs, of which the median is taken')
    what = 'images of a training step (4; on a GPU 8, 32 and 64)'
    parser.add_argument('--batch', type=arguments.at_least(1), help=what)
    arguments.add_number(parser, '--size', 448, 'image side of a step')
    parser.add_argument('--quick', action='store_true', help='leave out what needs gigabytes')
    what = 'write the numbers to this JSON file, too'
    parser.add_argument('--out', type=arguments.out_file('.json'), help=what)
    return parser.parse_args(argv)


def make_cases(
    args: argparse.Namespace, bench: Bench, config: str, loss_cases: Callable, plain_loss: Callable
) -> Iterator[Case]:
    """The cases of the chosen groups, one after the other: each is built when its turn comes."""
    if 'losses' in args.only:
        yield from loss_cases(bench, args.quick)
    if 'neck' in args.only:
        yield from network.neck_cases(bench, config, args.quick)
    if 'inference' in args.only and bench.device == 'cuda':
        yield from network.gpu_inference_cases(bench, config, args.batch or 64, args.size)
    elif 'inference' in args.only:
        yield from network.inference_cases(bench, config)
    if 'metrics' in args.only:
        yield from evaluation.cases()
    if 'data' in args.only:
        yield from pipeline.cases(config)
    if 'step' in args.only and bench.device == 'cuda':
        yield from network.gpu_step_cases(bench, config, args.batch, args.size, plain_loss)
    elif 'step' in args.only:
        yield from network.step_cases(bench, config, args.batch or 4, args.size)


def describe(result: Result) -> str:
    """One line of the table."""

    def bound(value, limit, unit='', spread=None):
        if value is None:
            return '-'
        text = f'{value:.3g}{unit}' + ('' if spread is None else f' ± {spread:.1g}')
        return text if limit is None else f'{text} (<= {limit:.3g}{unit})'

    speed = '-'
    if result.ratio is not None:
        ratio = bound(result.ratio, result.ratio_limit, spread=result.ratio_spread)
        speed = f'{ratio} x {result.against}'
    elif result.images:
        speed = f'{result.images / result.seconds:.0f} images/s'
    cells = [
        result.name,
        f'{result.seconds * 1000:.3g} ms',
        bound(result.matmuls, result.limit, spread=result.matmuls_spread),
        bound(result.memory_mb, result.memory_limit_mb, ' MB'),
        speed,
        'MISSED: ' + ', '.join(result.missed) if result.missed else '',
    ]
    return '| ' + ' | '.join(cells) + ' |'


def run(
    config: str, loss_cases: Callable, plain_loss: Callable, argv: list[str] | None = None
) -> None:
    """Measure, and print the table.

    Args:
        config (str): File of a model with a neck of label embeddings, on COCO at 448 px.
        loss_cases (Callable): Yields the cases of its losses, for a bench and ``quick``.
        plain_loss (Callable): Writes a head's ``loss`` plainly: (head, feats, data_samples) →
            the losses.
        argv (list[str], optional): Defaults to None: the command line's.
    """
    args = parse_args(argv)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    init_default_scope('mmpretrain')
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    bench = Bench(device, args.repeats)
    name = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    print(f'{device} ({name}), {torch.get_num_threads()} threads, torch {torch.__version__}; ')
    print(f'medians of {args.repeats} ± half of what lies between the quartiles; ')
    print('1 matmul = 2048 x 2048 x 2048 in float32, in the same run\n')
    print('| work | time | matmuls | peak memory | compared | |\n|---|---|---|---|---|---|')
    results = []
    for case in make_cases(args, bench, config, loss_cases, plain_loss):
        results.append(bench.measure(case))
        print(describe(results[-1]), flush=True)
    slopes = exponents(results)
    print()
    for series, slope in slopes.items():
        print(f'{series}: time grows with the power {slope:.2f}')
    if args.out:
        content = dict(
            device=name,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            repeats=args.repeats,
            results=[dataclasses.asdict(result) for result in results],
            growth=slopes,
        )
        write_json(args.out, content)
        print(f'saved: {args.out}')
    missed = [result.name for result in results if result.missed]
    print('all limits met' if not missed else f'limits missed by: {"; ".join(missed)}')
