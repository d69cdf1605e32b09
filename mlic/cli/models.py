"""Measure weights, operations and time of models: tools/benchmark/models.py CONFIG…

Prints a row of a Markdown table for each config, of one image at the size of its test images.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mlic.apis.export import input_size
from mlic.apis.folding import merge_adapters
from mlic.apis.open_run import build_model
from mlic.cli import arguments
from mlic.cli.benchmark.measure import Bench
from mlic.cli.benchmark.network import count_flops
from mlic.engine.config.options import merge_options
from mlic.engine.runner.errors import one_line_errors
from mlic.models.training_parts import for_prediction
from mlic.registries import load_config

COLUMNS = 'config', 'px', 'backbone', 'all', 'trained', 'GFLOPs', 'matmuls'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Millions of weights, GFLOPs of one image (a multiplication and an addition '
        'are two), and its core-seconds over those of a product of two 2048 x 2048 matrices'
    )
    arguments.add_config_argument(parser, 'configs', nargs='+', metavar='CONFIG')
    arguments.add_cfg_options(parser, 'model.backbone.arch=lite1')
    arguments.add_number(parser, '--repeats', 5, 'runs, of which the median is taken')
    return parser.parse_args(argv)


def row(path: str, options: dict, bench: Bench) -> list[str]:
    """The cells of a config; weights are random, none are fetched."""
    cfg = load_config(path)
    merge_options(cfg, options)
    size = input_size(cfg)
    trained = sum(p.numel() for p in build_model(cfg).parameters() if p.requires_grad)
    cfg.model = for_prediction(cfg.model)
    model = build_model(cfg).eval().requires_grad_(False)
    merge_adapters(model, cfg.model)
    images = torch.zeros(1, 3, *size)

    def run():
        model(images, mode='tensor')

    weights = [sum(p.numel() for p in part.parameters()) for part in (model.backbone, model)]
    run()
    rounds = [(core_seconds(run), core_seconds(bench.yardstick)) for _ in range(bench.repeats)]
    matmuls = statistics.median(own / product for own, product in rounds)
    millions = [f'{number / 1e6:.1f}' for number in (*weights, trained)]
    name = Path(path).stem
    name += ''.join(f' {key.rpartition(".")[2]}={value}' for key, value in options.items())
    return [name, str(size[0]), *millions, f'{count_flops(run) / 1e9:.1f}', f'{matmuls:.2g}']


def core_seconds(run: Callable) -> float:
    """Processor time of one call, of all threads: what others do meanwhile matters little."""
    started = time.process_time()
    run()
    return time.process_time() - started


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    init_default_scope('mmpretrain')
    MMLogger.get_instance('models', log_level='WARNING')
    bench = Bench('cpu', args.repeats)
    for cells in (COLUMNS, ['---'] * len(COLUMNS)):
        print(f'| {" | ".join(cells)} |')
    for path in args.configs:
        print(f'| {" | ".join(row(path, args.cfg_options or {}, bench))} |', flush=True)
