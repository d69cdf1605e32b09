"""Measure speed and memory, as ratios: tools/benchmark/run.py [--only losses …] [--out FILE]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from importlib.metadata import entry_points
from pathlib import Path

os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler counts memory, silently

import cv2
import torch
from mmengine.registry import init_default_scope

from mlic.cli.arguments import add_config_argument, at_least
from mlic.engine.runner.errors import one_line_errors

from . import evaluation, pipeline
from .measure import Bench, Result, exponents

CONFIG = 'sadcl_r101_coco448'
# name of --only: (Bench, arguments of the command) to cases; methods add theirs
GROUPS = {
    'metrics': lambda bench, args: evaluation.cases(bench, args.quick),
    'data': lambda bench, args: pipeline.cases(bench, args.config),
}


def find_groups() -> dict:
    """The groups of the methods, by entry point, and the toolkit's."""
    found = [entry.load() for entry in entry_points(group='mlic.benchmarks')]
    return {name: cases for groups in (*found, GROUPS) for name, cases in groups.items()}


def parse_args(argv: list[str] | None, groups: dict) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure speed and memory, as ratios in one run')
    add_config_argument(parser, nargs='?', default=CONFIG, help='of step and data (%(default)s)')
    parser.add_argument('--only', nargs='+', choices=groups, default=list(groups))
    parser.add_argument('--device', choices=['cpu', 'cuda'], default=None, help='(cuda if there)')
    parser.add_argument('--repeats', type=at_least(1), default=5, help='medians of this many (5)')
    parser.add_argument('--batch', type=at_least(1), help='images of a training step (4; GPU: 32)')
    parser.add_argument('--size', type=int, default=448, help='image side of a step (448)')
    parser.add_argument('--quick', action='store_true', help='leave out what takes gigabytes')
    parser.add_argument('--out', help='write the numbers to this JSON file, too')
    args = parser.parse_args(argv)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    args.batch = args.batch or (4 if args.device == 'cpu' else 32)
    return args


def describe(result: Result) -> str:
    """One line of the table."""

    def bound(value, limit, unit=''):
        if value is None:
            return '-'
        text = f'{value:.3g}{unit}'
        return text if limit is None else f'{text} (<= {limit:.3g}{unit})'

    beside = '-'
    if result.ratio is not None:
        beside = f'{bound(result.ratio, result.ratio_limit)} x {result.against}'
    cells = [
        result.name,
        f'{result.seconds * 1000:.3g} ms',
        bound(result.matmuls, result.limit),
        bound(result.memory_mb, result.memory_limit_mb, ' MB'),
        beside,
        'MISSED: ' + ', '.join(result.missed) if result.missed else '',
    ]
    return '| ' + ' | '.join(cells) + ' |'


@one_line_errors()
def main(argv: list[str] | None = None, groups: dict | None = None) -> None:
    groups = groups or find_groups()
    args = parse_args(argv, groups)
    device = args.device
    init_default_scope('mmpretrain')
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    bench = Bench(device, args.repeats)
    name = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    print(f'{device} ({name}), {torch.get_num_threads()} threads, torch {torch.__version__}; ')
    print(f'medians of {args.repeats}; 1 matmul = 2048 x 2048 x 2048 in float32, in the same run\n')
    print('| work | time | matmuls | peak memory | beside | |\n|---|---|---|---|---|---|')
    results = []
    # each case is built when its turn comes
    for case in (
        case for name, cases in groups.items() if name in args.only for case in cases(bench, args)
    ):
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
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(content, indent=2) + '\n')
        print(f'saved: {args.out}')
    missed = [result.name for result in results if result.missed]
    print('all limits met' if not missed else f'limits missed by: {"; ".join(missed)}')
