"""Draw where a model looks: tools/analysis_tools/show_attention.py CONFIG CHECKPOINT [--out FILE]

A row per test image: the image with its true labels, and a heat map of the label-wise attention
for each predicted label.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.apis.model_outputs import (
    has_label_embeddings,
    image_name,
    predict_with_attention,
    unsquash,
)
from mlic.apis.open_run import open_run
from mlic.cli.arguments import add_checkpoint_arguments
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.visualization.attention import draw_attention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ('.png', '.jpg', '.pdf')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the attention of predicted labels')
    parser.add_argument('config', help='config file')
    add_checkpoint_arguments(parser)
    parser.add_argument('--out', default='predictions.png', help='picture file (%(default)s)')
    parser.add_argument(
        '--num-images',
        type=int,
        default=6,
        help='so many test images, spread evenly over the test set (%(default)s)',
    )
    parser.add_argument(
        '--indices', type=int, nargs='+', help='these test images instead, counted from 0'
    )
    parser.add_argument(
        '--thr', type=float, default=0.5, help='lowest score of a predicted label (%(default)s)'
    )
    parser.add_argument(
        '--max-labels', type=int, default=4, help='most heat maps per image (%(default)s)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config entries to replace, such as test_dataloader.dataset.split=val',
    )
    args = parser.parse_args()
    if Path(args.out).suffix not in FORMATS:
        parser.error(f'--out takes a file that ends in {", ".join(FORMATS)}: {args.out}')
    for name in ('num_images', 'max_labels'):
        if getattr(args, name) < 1:
            option = '--' + name.replace('_', '-')
            parser.error(f'{option} must be at least 1, got {getattr(args, name)}')
    return args


def choose_images(length: int, num_images: int, indices: list[int] | None) -> list[int]:
    """The given indices, or some that are spread evenly over the data set."""
    if indices is None:
        return np.linspace(0, length - 1, min(num_images, length)).round().astype(int).tolist()
    wrong = [index for index in indices if not 0 <= index < length]
    if wrong:
        raise SystemExit(f'--indices {wrong[0]}: the test set has images 0 to {length - 1}')
    return indices


def to_target(sample: DataSample, num_classes: int) -> Tensor:
    """Multi-hot truth (C,)."""
    if 'gt_score' in sample:
        return sample.gt_score
    target = torch.zeros(num_classes)
    target[sample.gt_label.long()] = 1
    return target


def draw(
    model: nn.Module, dataset: BaseDataset, indices: list[int], thr: float, max_labels: int
) -> Figure:
    """The picture of these images of a data set."""
    images, pred_scores, targets, attentions = [], [], [], []
    for index in indices:
        item = dataset[index]
        pred_score, attention, seen = predict_with_attention(model, item['inputs'])
        images.append(unsquash(seen, dataset, item))
        pred_scores.append(pred_score)
        targets.append(to_target(item['data_samples'], len(pred_score)))
        attentions.append(attention)
    class_names = dataset.metainfo.get('classes') or range(len(pred_scores[0]))
    return draw_attention(
        images,
        torch.stack(pred_scores),
        torch.stack(targets),
        attentions,
        [str(name) for name in class_names],
        [image_name(dataset, index) for index in indices],
        thr=thr,
        max_labels=max_labels,
    )


def show(args: argparse.Namespace) -> None:
    """Predict, draw and save."""
    run = open_run(args.checkpoint, args.config, stage=args.stage, cfg_options=args.cfg_options)
    print(f'checkpoint: {run.checkpoint}')
    if not has_label_embeddings(run.model):
        neck = (run.config.model.get('neck') or {}).get('type', 'no neck')
        raise SystemExit(f'no attention to show: the model has {neck}, and SARLNeck is needed')
    check_data(run.config, ('test',))
    dataset = DATASETS.build(run.config.test_dataloader.dataset)
    indices = choose_images(len(dataset), args.num_images, args.indices)
    figure = draw(run.model, dataset, indices, args.thr, args.max_labels)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    print(f'picture: {args.out}')


def main() -> None:
    args = parse_args()
    with one_line_errors():
        show(args)
