"""Show what a lowered precision changes.

    python tools/analysis_tools/compare_precision.py CONFIG CHECKPOINT --precision bfloat16

Predicts the test set in float32 and in the other precision, as tools/test.py --precision does, and
prints the largest and the mean change of a score, the labels that flip, and each metric's change.
"""

import argparse
import copy

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from rich.progress import track
from torch.utils.data import DataLoader

from mlic.cli import arguments
from mlic.cli.run_data import open_checkpoint
from mlic.datasets.pictures import image_name
from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.precision import (
    autocast_to,
    predict_on_host,
    prepare_for,
    usable_precision,
)
from mlic.evaluation.matrices import Block, concatenate_blocks
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.summary import evaluate_block
from mlic.evaluation.thresholds import of_classes, parse_score_threshold
from mlic.names import counted


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show what a lowered precision changes')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    arguments.add_precision_argument(parser, 'bfloat16')
    arguments.add_own_threshold_argument(parser, 'where labels flip')
    arguments.add_cfg_options(parser, 'test_dataloader.batch_size=8')
    return parser.parse_args(argv)


@torch.no_grad()
def predict(models: dict[str, BaseModel], loader: DataLoader) -> tuple[dict[str, Block], list[str]]:
    """The predictions of each model, by its precision, and the names of the images."""
    metrics = {precision: MLICMetric() for precision in models}
    for metric in metrics.values():
        metric.dataset_meta = getattr(loader.dataset, 'metainfo', None)
    names = []
    for data in track(loader, 'test set'):
        for precision, model in models.items():
            with autocast_to(precision, model):
                samples = model.test_step(data)
            metrics[precision].process(data, [sample.to_dict() for sample in samples])
        names += [image_name(sample) for sample in samples]
    return {key: concatenate_blocks(metric.results) for key, metric in metrics.items()}, names


def describe_scores(
    before: np.ndarray,
    after: np.ndarray,
    threshold: float | np.ndarray,
    images: list[str],
    classes: list[str],
) -> str:
    """Largest change, mean change and flips of scores (N, C); the threshold is one or (C,)."""
    change = np.abs(after - before)
    image, label = np.unravel_index(change.argmax(), change.shape)
    limit = np.asarray(threshold, before.dtype)  # compared as the metric does
    labels, others = before >= limit, after >= limit
    by = f'{threshold:g}' if np.isscalar(threshold) else "each class's threshold"
    return '\n'.join(
        [
            f'largest change of a score: {change[image, label]:.6f}, from '
            f'{before[image, label]:.6f} to {after[image, label]:.6f}: '
            f'class {classes[label]} of {images[image]}',
            f'mean change of a score: {change.mean(dtype=np.float64):.6f}',
            f'labels that flip at {by}: {(labels & ~others).sum()} of {labels.sum()} '
            f'disappear, {(others & ~labels).sum()} appear',
        ]
    )


def describe_metrics(blocks: dict[str, Block], classes: list[str]) -> str:
    """A row for each metric and a column for each protocol: the second's value, and its change."""
    protocols = list(PROTOCOLS.values())
    before, after = (evaluate_block(block, classes, protocols) for block in blocks.values())
    float32, lowered = blocks
    rows = [f'{lowered}, and its change from {float32}; in percent']
    rows.append(' ' * 8 + ''.join(f'{protocol.name:>17}' for protocol in protocols))
    for key in max(after.metrics, key=len):
        pairs = [(old.get(key), new.get(key)) for old, new in zip(before.metrics, after.metrics)]
        cells = ['-' if new is None else f'{new:.2f} {new - old:+.3f}' for old, new in pairs]
        rows.append(f'{key:8}' + ''.join(f'{cell:>17}' for cell in cells))
    return '\n'.join(rows)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    threshold = parse_score_threshold(args.threshold)
    run = open_checkpoint(args)
    threshold = of_classes(arguments.given_or_own(threshold, run.thresholds), run.classes)
    check_data(run.config, ('test',))
    adapt_to_device(run.config)
    precision = usable_precision(args.precision, run.model)
    if precision == 'float32':
        raise ValueError('--precision float32 is what the other is compared with: choose another')
    lowered = prepare_for(precision, copy.deepcopy(run.model))
    models = dict(float32=run.model, **{precision: lowered})
    for model in models.values():
        predict_on_host(model)
    blocks, images = predict(models, Runner.build_dataloader(run.config.test_dataloader))
    scores = [block.pred for block in blocks.values()]
    size = f'{counted(len(images), "image")}, {counted(len(run.classes), "class")}'
    print(f'{size}: float32 and {precision}')
    print(describe_scores(*scores, threshold, images, run.classes))
    print(describe_metrics(blocks, run.classes))
