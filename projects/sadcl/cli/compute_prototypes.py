"""Compute the class prototypes of a trained model: tools/compute_prototypes.py CONFIG CHECKPOINT

One pass over the training images under the test pipeline. The prototype of a class is the sum of
its embeddings in the images that have the class with a score above the threshold, divided by the
number of all images that have it (what the published files look like) or of those above the
threshold. ``SADCLHead(prototypes='FILE.npy')`` starts from the result, (C, D) float32.
"""

import argparse

import numpy as np
from torch import Tensor

from mlic.apis.model_outputs import check_label_embeddings
from mlic.cli.arguments import (
    add_cfg_options,
    add_checkpoint_arguments,
    add_config_argument,
    add_number,
    add_precision_argument,
    out_file,
)
from mlic.cli.run_data import open_checkpoint
from mlic.engine.runner.class_means import build_prototype_loader, class_means
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.precision import eval_precision, prepare_for, usable_precision
from mlic.files import atomic_write


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compute the class prototypes of a model')
    add_config_argument(parser)
    add_checkpoint_arguments(parser)
    parser.add_argument('--out', type=out_file('.npy'), required=True, help='.npy file to write')
    what = 'score that a positive must exceed to be summed; the default is the published one'
    add_number(parser, '--threshold', 0.85, what, least=0, below=1)
    parser.add_argument(
        '--normalise-by',
        choices=['positives', 'selected'],
        default='positives',
        help='divide by all images that have the class, or by those summed (%(default)s)',
    )
    add_precision_argument(parser)
    add_cfg_options(parser, 'train_dataloader.batch_size=8')
    return parser.parse_args(argv)


def describe(prototypes: Tensor, counts: Tensor, confident: Tensor, classes: list[str]) -> str:
    """A summary of some lines; classes that stay zero are named."""
    share = confident.sum() / counts.sum().clamp(min=1)
    norms = prototypes.norm(dim=1)
    lines = [
        f'{counts.sum():.0f} labels, {100 * share:.1f} % of them above the threshold',
        f'norms of the prototypes: {norms.min():.3f} to {norms.max():.3f}',
    ]
    zero = [name for name, norm in zip(classes, norms) if norm == 0]
    if zero:
        lines.append(
            f'{len(zero)} of {len(classes)} classes have no image above the threshold, and a '
            f'prototype of zero: {", ".join(zero)}'
        )
    return '\n'.join(lines)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Compute, write and describe."""
    args = parse_args(argv)
    run = open_checkpoint(args, split='train')
    check_data(run.config, ('train',))
    loader = build_prototype_loader(run.config)
    check_label_embeddings(run.model, loader.dataset)
    precision = usable_precision(args.precision or eval_precision(run.config), run.model)
    print(f'one pass over {len(loader.dataset)} training images, in {precision}')
    model = prepare_for(precision, run.model)
    sums, counts, confident = class_means(model, loader, args.threshold, print, precision)
    divisor = counts if args.normalise_by == 'positives' else confident
    prototypes = (sums / divisor.clamp(min=1)[:, None]).cpu()  # (C, D)
    with atomic_write(args.out) as file:
        np.save(file, prototypes.numpy().astype(np.float32), allow_pickle=False)
    print(describe(prototypes, counts.cpu(), confident.cpu(), run.classes))
    print(f'saved: {args.out}, {tuple(prototypes.shape)} float32')
