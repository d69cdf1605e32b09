"""Draw where a model looks: tools/analysis_tools/show_attention.py CONFIG CHECKPOINT [--out FILE]

A row per test image: the image with its true labels, and a heat map of the label-wise attention
for each predicted label.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from PIL.Image import Image
from torch import nn

from mlic.apis.model_outputs import load_model, predict_item
from mlic.datasets.pictures import image_name, image_to_draw
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.models.attention_maps import attentive_neck
from mlic.visualization.multi_label_visualizer import draw_sample
from mlic.visualization.page import stack_pages

FORMATS = ('.png', '.jpg', '.pdf')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the attention of predicted labels')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a work directory: its best (else latest) one'
    )
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


def draw(
    model: nn.Module, dataset: BaseDataset, indices: list[int], thr: float, max_labels: int
) -> Image:
    """The picture of these images of a data set."""
    pages = []
    for index in indices:
        sample = predict_item(model, dataset[index])
        page = draw_sample(
            image_to_draw(sample, dataset.pipeline.transforms),
            sample,
            dataset.metainfo.get('classes'),
            threshold=thr,
            max_maps=max_labels,
            title=image_name(sample),
        )
        pages.append(page)
    return stack_pages(pages)


def show(args: argparse.Namespace) -> None:
    """Predict, draw and save."""
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    checkpoint = find_checkpoint(args.checkpoint)
    check_data(cfg, ('test',))
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    indices = choose_images(len(dataset), args.num_images, args.indices)
    model = load_model(cfg, checkpoint, dataset.metainfo.get('classes'))
    attentive_neck(model)
    picture = draw(model, dataset, indices, args.thr, args.max_labels)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    picture.save(args.out)
    print(f'picture: {args.out}')


def main() -> None:
    args = parse_args()
    with one_line_errors():
        show(args)
