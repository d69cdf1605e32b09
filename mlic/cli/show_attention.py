"""Draw where a model looks: tools/analysis_tools/show_attention.py CONFIG CHECKPOINT [--out FILE]

A row per test image: the image with its true labels, and a heat map of the label-wise attention
for each predicted label.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch
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
from mlic.cli.arguments import (
    add_cfg_options,
    add_checkpoint_arguments,
    add_config_argument,
    add_threshold_argument,
    at_least,
    out_file,
)
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import ThresholdFile, of_classes, parse_score_threshold
from mlic.visualization.attention import draw_attention

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the attention of predicted labels')
    add_config_argument(parser)
    add_checkpoint_arguments(parser)
    parser.add_argument(
        '--out',
        type=out_file('.png', '.jpg', '.pdf'),
        default='predictions.png',
        help='picture file (%(default)s)',
    )
    parser.add_argument(
        '--num',
        type=at_least(1),
        default=6,
        help='so many test images, spread evenly over the test set (%(default)s)',
    )
    parser.add_argument(
        '--indices', type=int, nargs='+', help='these test images instead, counted from 0'
    )
    add_threshold_argument(parser, 'lowest score of a predicted label')
    parser.add_argument(
        '--max-labels', type=at_least(1), default=4, help='most heat maps per image (%(default)s)'
    )
    add_cfg_options(parser, 'test_dataloader.dataset.split=val')
    return parser.parse_args(argv)


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
    model: nn.Module,
    dataset: BaseDataset,
    indices: list[int],
    thr: float | ThresholdFile,
    max_labels: int,
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
    class_names = [str(name) for name in class_names]
    return draw_attention(
        images,
        torch.stack(pred_scores),
        torch.stack(targets),
        attentions,
        class_names,
        [image_name(dataset, index) for index in indices],
        thr=of_classes(thr, class_names),
        max_labels=max_labels,
    )


def show(args: argparse.Namespace) -> None:
    """Predict, draw and save."""
    threshold = parse_score_threshold(args.threshold)
    run = open_run(args.checkpoint, args.config, stage=args.stage, cfg_options=args.cfg_options)
    print(f'checkpoint: {run.checkpoint}')
    if not has_label_embeddings(run.model):
        neck = (run.config.model.get('neck') or {}).get('type', 'no neck')
        raise SystemExit(f'no attention to show: the model has {neck}, and SARLNeck is needed')
    check_data(run.config, ('test',))
    dataset = DATASETS.build(run.config.test_dataloader.dataset)
    indices = choose_images(len(dataset), args.num, args.indices)
    figure = draw(run.model, dataset, indices, threshold, args.max_labels)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    print(f'picture: {args.out}')


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    show(parse_args(argv))
