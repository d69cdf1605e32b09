"""Look at what a model trains on: the images as the pipeline leaves them, with their labels.

    python tools/dataset_tools/browse_dataset.py CONFIG --out sheet.png [--split train] [--num 24]

``--repeat 4`` draws each image four times, side by side, to show what augmentation does to it.
"""

import argparse
import math
import random

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.structures import DataSample

from mlic.cli import arguments
from mlic.datasets.own_data.splits import SPLITS
from mlic.engine.hooks.seed_hook import seed_generators
from mlic.engine.runner.errors import one_line_errors
from mlic.files import write_picture
from mlic.visualization.page import FONT_SIZE, fit_text, text_width

from .run_data import build_dataset

SIDE = 1.9  # inches, of a picture
LINE = 0.15  # inches, of a line of labels
LETTERS = 8  # points, of the labels
MOST_LINES = 6


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw images after the pipeline, with labels')
    arguments.add_config_argument(parser)
    arguments.add_out_argument(parser, 'sheet.png', *arguments.PHOTOS)
    parser.add_argument('--split', choices=SPLITS, default='train', help='which data (train)')
    arguments.add_number(parser, '--num', 24, 'number of images, chosen at random')
    arguments.add_number(parser, '--repeat', 1, 'how often each image is drawn')
    arguments.add_seed(parser, 'of what is drawn')
    arguments.add_cfg_options(parser)
    return parser.parse_args(argv)


def draw_item(dataset: BaseDataset, index: int, seeds: list[int]) -> tuple[np.ndarray, DataSample]:
    """One pass of an image through the pipeline: pixels (H, W, 3) uint8 and the sample."""
    seed_generators(*seeds)
    item = dataset[index]
    inputs = item.get('inputs')
    if not isinstance(inputs, torch.Tensor) or inputs.dtype != torch.uint8:
        found = getattr(inputs, 'dtype', type(inputs).__name__)
        raise ValueError(f'the pipeline must end in PackInputs and yield uint8 images, got {found}')
    return inputs.permute(1, 2, 0).expand(-1, -1, 3).numpy(), item['data_samples']


def caption(sample: DataSample, classes: list[str] | None) -> str:
    """The labels in lines no wider than a picture; of very many only the first lines."""
    labels = sample.gt_label.tolist() if 'gt_label' in sample else []
    known = classes or ()
    names = [str(known[x]) if 0 <= x < len(known) else f'label {x}' for x in labels]
    # one that holds a comma is one label
    parts = [f'"{name}"' if ',' in name else name for name in names] or ['(no label)']
    unknown = len(sample.get('gt_label_unknown', ()))
    parts += [f'({unknown} unknown)'] * bool(unknown)
    lines: list[str] = []
    for number, part in enumerate(parts, 1):
        part = fit_text(part, SIDE, ',' * (number < len(parts)), label_width)
        if lines and label_width(f'{lines[-1]} {part}') <= SIDE:
            lines[-1] += f' {part}'
        else:
            lines.append(part)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f'… {len(names)} labels in all']
    return '\n'.join(lines)


def label_width(text: str) -> float:
    """Inches that a line of labels takes."""
    return text_width(text) * LETTERS / FONT_SIZE


def draw_sheet(pictures: list[np.ndarray], captions: list[str], columns: int, title: str) -> Figure:
    """The sheet: a grid of pictures with their captions below."""
    rows = math.ceil(len(pictures) / columns)
    row_lines = [
        max(text.count('\n') + 1 for text in captions[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    heights = [SIDE + LINE * lines + 0.2 for lines in row_lines]
    width, height = columns * (SIDE + 0.15) + 0.15, sum(heights) + 0.4
    figure = Figure((width, height), dpi=110)
    figure.text(
        0.15 / width,
        1 - 0.2 / height,
        fit_text(title, width - 0.3),
        va='center',
        fontsize=9,
        parse_math=False,
    )
    for place, (picture, text) in enumerate(zip(pictures, captions)):
        row, column = divmod(place, columns)
        left = 0.15 + column * (SIDE + 0.15)
        top = height - 0.4 - sum(heights[:row])
        axes = figure.add_axes(
            (left / width, (top - SIDE) / height, SIDE / width, SIDE / height), anchor='SW'
        )
        axes.imshow(picture)
        axes.axis('off')
        figure.text(
            left / width, (top - SIDE - 0.05) / height, text,
            va='top', fontsize=LETTERS, parse_math=False,
        )  # fmt: skip
    return figure


def browse(cfg: Config, args: argparse.Namespace) -> Figure:
    """Draw some images of a split."""
    loader = cfg.get(f'{args.split}_dataloader')
    if loader is None:
        raise ValueError(f'the config has no {args.split}_dataloader')
    dataset = build_dataset(cfg, args.split)
    if not len(dataset):
        raise ValueError(f'{args.split}: 0 images')
    chosen = random.Random(args.seed).sample(range(len(dataset)), min(args.num, len(dataset)))
    # a model that turns its input into RGB gets BGR
    is_bgr = (cfg.get('data_preprocessor') or {}).get('to_rgb', False)
    pictures, captions = [], []
    for index in sorted(chosen):
        for draw in range(args.repeat):
            picture, sample = draw_item(dataset, index, [args.seed, index, draw])
            pictures.append(picture[..., ::-1] if is_bgr else picture)
            captions.append('' if draw else caption(sample, dataset.metainfo.get('classes')))
    columns = args.repeat if args.repeat > 1 else min(6, len(pictures))
    title = f'{args.config}: {args.split}, {len(chosen)} of {len(dataset)} images'
    return draw_sheet(pictures, captions, columns, title)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    figure = browse(arguments.read_config(args), args)
    write_picture(args.out, figure)
    print(f'picture: {args.out}')
