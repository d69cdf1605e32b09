"""Class prototypes of a trained model: tools/compute_prototypes.py CONFIG CHECKPOINT --out FILE

One pass over the training images under the test pipeline. The prototype of a class is the sum of
its embeddings in the images that have the class with a score above the threshold, divided by the
number of all images that have it (what the published files look like) or of those above the
threshold. ``SADCLHead(prototypes='FILE.npy')`` starts from the result, (C, D) float32.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.cli.arguments import (
    add_cfg_options,
    add_checkpoint_arguments,
    add_config_argument,
    out_file,
    read_config,
)
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.checkpoints.writing import atomic_write
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from projects.sadcl.engine.prototype_hook import build_prototype_loader, class_means


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compute the class prototypes of a model')
    add_config_argument(parser)
    add_checkpoint_arguments(parser)
    parser.add_argument('--out', type=out_file('.npy'), required=True, help='.npy file to write')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.85,
        help='score that a positive must exceed to be summed (%(default)s, as published)',
    )
    parser.add_argument(
        '--normalise-by',
        choices=['positives', 'selected'],
        default='positives',
        help='divide by all images that have the class, or by those summed (%(default)s)',
    )
    add_cfg_options(parser, 'train_dataloader.batch_size=8')
    args = parser.parse_args(argv)
    if not 0 <= args.threshold < 1:
        parser.error(f'--threshold must be in [0, 1), but got {args.threshold}')
    return args


def build_model(cfg: Config, checkpoint: str) -> nn.Module:
    """The trained model, on the GPU if there is one.

    Raises:
        SystemExit: If its neck makes no label embeddings, or the checkpoint leaves some of its
            weights as they were drawn.
    """
    model_cfg = copy.deepcopy(cfg.model)
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if 'prototypes' in model_cfg.head:  # may be the file that is about to be written
        model_cfg.head.prototypes = None
    model = MODELS.build(model_cfg)
    if not hasattr(getattr(model, 'neck', None), 'query_embed'):
        neck = (cfg.model.get('neck') or {}).get('type', 'no neck')
        raise SystemExit(f'no label embeddings to average: the model has {neck}, not SARLNeck')
    state_dict = load_checkpoint(model, checkpoint, map_location='cpu')
    weights = state_dict.get('state_dict', state_dict)
    absent = [
        name
        for name, value in model.state_dict().items()
        if not name.startswith(('head.projector.', 'head.prototypes', 'head.memory_bank'))
        and not name.endswith('num_batches_tracked')
        and (name not in weights or weights[name].shape != value.shape)
    ]
    if absent:
        raise SystemExit(
            f'{checkpoint} does not fit {cfg.filename}: {len(absent)} weights are not in it or '
            f'have another shape, such as {absent[0]}'
        )
    return model.to('cuda' if torch.cuda.is_available() else 'cpu')


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


def compute(args: argparse.Namespace) -> None:
    """Compute, write and describe."""
    cfg = read_config(args)
    checkpoint = find_checkpoint(args.checkpoint)
    check_data(cfg, ('train',))
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = build_model(cfg, checkpoint)
    loader = build_prototype_loader(cfg)
    print(f'one pass over {len(loader.dataset)} training images')
    sums, counts, confident = class_means(model, loader, args.threshold, print)
    divisor = counts if args.normalise_by == 'positives' else confident
    prototypes = (sums / divisor.clamp(min=1)[:, None]).cpu()  # (C, D)
    with atomic_write(args.out) as file:
        np.save(file, prototypes.numpy().astype(np.float32), allow_pickle=False)
    classes = loader.dataset.metainfo.get('classes') or range(len(prototypes))
    print(describe(prototypes, counts.cpu(), confident.cpu(), [str(name) for name in classes]))
    print(f'saved: {args.out}, {tuple(prototypes.shape)} float32')


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    compute(parse_args(argv))
