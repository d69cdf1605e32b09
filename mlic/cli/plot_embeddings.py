"""Map label embeddings of test images: tools/analysis_tools/plot_embeddings.py CONFIG CHECKPOINT

A dot is a true label of a test image, a star the prototype of a class, if the model has them.
COCO's classes are coloured by their 12 superclasses, others by the most frequent classes. The
places are written beside the picture, as .npz.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from torch import Tensor, nn

from mlic.apis.model_outputs import has_label_embeddings, label_embeddings, load_model
from mlic.datasets.coco import COCOMultiLabel, read_superclasses
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.visualization.embedding import (
    choose_points,
    draw_embeddings,
    frequent_groups,
    project_to_map,
)

FORMATS = ('.png', '.svg', '.pdf')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Map the label embeddings of test images')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a work directory: its best (else latest) one'
    )
    parser.add_argument(
        '--out', type=Path, default='embeddings.png', help='.png, .svg or .pdf (%(default)s)'
    )
    parser.add_argument('--method', choices=('tsne', 'umap'), default='tsne')
    parser.add_argument(
        '--perplexity', type=float, default=30, help='of t-SNE; neighbours of UMAP (%(default)s)'
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=2000,
        help='so many test images, spread evenly over the test set (%(default)s)',
    )
    parser.add_argument(
        '--max-points', type=int, default=3000, help='labels on the map (%(default)s)'
    )
    parser.add_argument(
        '--superclasses',
        type=Path,
        metavar='FILE.json',
        help="COCO's annotation file, whose superclasses give the colours (the test set's own)",
    )
    parser.add_argument(
        '--projected', action='store_true', help="what the head's projector makes of them"
    )
    parser.add_argument('--seed', type=int, default=0, help='(%(default)s)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config entries to replace, such as test_dataloader.dataset.split=val',
    )
    args = parser.parse_args()
    if args.out.suffix not in FORMATS:
        parser.error(f'--out takes a file that ends in {", ".join(FORMATS)}: {args.out}')
    for name in ('num_images', 'max_points', 'perplexity'):
        if getattr(args, name) < 1:
            option = '--' + name.replace('_', '-')
            parser.error(f'{option} must be at least 1, got {getattr(args, name)}')
    return args


@torch.no_grad()
def find_prototypes(model: nn.Module, num_classes: int, embeds: Tensor, projected: bool) -> tuple:
    """Prototypes (C, D), NaN where there are none, and the embeddings; both projected or not."""
    head = model.head
    prototypes = getattr(head, 'prototypes', None)
    if prototypes is None:
        prototypes = torch.full((num_classes, embeds.shape[1]), torch.nan)
    zero = ~prototypes.detach().cpu().any(dim=1)
    if projected:
        if getattr(head, 'projector', None) is None:
            sys.exit('error: --projected needs a head with a projector, such as SADCLHead')
        device = next(head.projector.parameters()).device
        prototypes = head.projector(prototypes.to(device))
        embeds = torch.cat([head.projector(part.to(device)).cpu() for part in embeds.split(1024)])
    prototypes = prototypes.detach().cpu().float().clone()
    prototypes[zero] = torch.nan
    return prototypes.numpy(), embeds.numpy()


def run(args: argparse.Namespace) -> None:
    """Embed, map, draw and write."""
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    checkpoint = find_checkpoint(args.checkpoint)
    check_data(cfg, ('test',))
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    model = load_model(cfg, checkpoint, dataset.metainfo.get('classes'))
    if not has_label_embeddings(model):
        sys.exit(f'error: {args.config}: no label embeddings, its neck is not SARLNeck')
    names = [str(name) for name in dataset.metainfo['classes']]
    number = min(args.num_images, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()
    print(f'embedding {number} of {len(dataset)} test images')
    embeds, images, labels = label_embeddings(model, dataset, indices)
    kept = choose_points(labels.numpy(), args.max_points, args.seed)
    embeds, images, labels = embeds[kept], images.numpy()[kept], labels.numpy()[kept]
    prototypes, embeds = find_prototypes(model, len(names), embeds, args.projected)

    stars = np.isfinite(prototypes).all(axis=1)
    together = np.concatenate([embeds, prototypes[stars]])
    print(f'mapping {len(embeds)} labels and {stars.sum()} prototypes by {args.method}')
    places = project_to_map(together, args.method, args.perplexity, args.seed)
    points, star_places = places[: len(embeds)], np.full((len(names), 2), np.nan)
    star_places[stars] = places[len(embeds) :]

    if args.superclasses or isinstance(dataset, COCOMultiLabel):
        groups = read_superclasses(args.superclasses or dataset.ann_file, names)
    else:
        groups = frequent_groups(labels, names)
    title = f'{len(embeds)} label embeddings of {number} images{", projected" * args.projected}'
    figure = draw_embeddings(points, labels, star_places, names, groups, title=title)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    table = args.out.with_suffix('.npz')
    np.savez(
        table,
        points=points,
        label=labels,
        image=images,
        prototypes=star_places,
        classes=np.array(names),
        groups=np.array(groups),
    )
    print(f'places: {table}')
    print(f'picture: {args.out}')


def main() -> None:
    args = parse_args()
    with one_line_errors():
        run(args)
