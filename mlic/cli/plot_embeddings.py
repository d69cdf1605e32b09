"""Map label embeddings of test images: tools/analysis_tools/plot_embeddings.py CONFIG CHECKPOINT

A dot is a true label of a test image, a star the prototype of a class, if the model has them.
COCO's classes are coloured by their 12 superclasses, others by the most frequent classes. The
places are written next to the picture, as .npz.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlic.apis.model_outputs import label_embeddings
from mlic.cli import arguments
from mlic.cli.run_data import open_embeddings, spread
from mlic.datasets.coco import COCOMultiLabel, read_superclasses
from mlic.datasets.wrappers import innermost
from mlic.engine.runner.errors import one_line_errors
from mlic.files import write_arrays, write_picture
from mlic.visualization.embedding import (
    choose_points,
    draw_embeddings,
    frequent_groups,
    project_to_map,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Map the label embeddings of test images')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    arguments.add_out_argument(parser, 'embeddings.png', *arguments.FIGURES)
    parser.add_argument(
        '--method', choices=('tsne', 'umap'), default='tsne', help='how to map (tsne)'
    )
    arguments.add_number(parser, '--perplexity', 30.0, 'perplexity of t-SNE, or neighbours of UMAP')
    arguments.add_number(parser, '--num', 2000, arguments.SPREAD)
    arguments.add_number(parser, '--max-points', 3000, 'labels on the map')
    parser.add_argument(
        '--superclasses',
        type=Path,
        metavar='FILE.json',
        help="COCO's annotation file, whose superclasses give the colours (the test set's own)",
    )
    parser.add_argument(
        '--projected', action='store_true', help="what the head's projector makes of them"
    )
    arguments.add_seed(parser, 'of the choice of labels and of the map')
    arguments.add_cfg_options(parser, 'test_dataloader.dataset.split=val')
    return parser.parse_args(argv)


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
            sys.exit('--projected needs a head with a projector, such as SADCLHead')
        device = next(head.projector.parameters()).device
        prototypes = head.projector(prototypes.to(device))
        embeds = torch.cat([head.projector(part.to(device)).cpu() for part in embeds.split(1024)])
    prototypes = prototypes.detach().cpu().float().clone()
    prototypes[zero] = torch.nan
    return prototypes.numpy(), embeds.numpy()


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    run, dataset = open_embeddings(args, args.config, args.checkpoint)
    model, names = run.model, run.classes
    indices = spread(len(dataset), args.num)
    number = len(indices)
    print(f'embedding {number} of {len(dataset)} test images')
    embeds, images, labels = label_embeddings(model, dataset, indices)
    kept = choose_points(labels.numpy(), args.max_points, args.seed)
    embeds, images, labels = embeds[kept], images.numpy()[kept], labels.numpy()[kept]
    prototypes, embeds = find_prototypes(model, len(names), embeds, args.projected)

    stars = np.isfinite(prototypes).all(axis=1)
    if stars.sum() > args.max_points:  # they would cover the labels
        stars &= np.isin(np.arange(len(stars)), labels)
    together = np.concatenate([embeds, prototypes[stars]])
    print(f'mapping {len(embeds)} labels and {stars.sum()} prototypes by {args.method}')
    places = project_to_map(together, args.method, args.perplexity, args.seed)
    points, star_places = places[: len(embeds)], np.full((len(names), 2), np.nan)
    star_places[stars] = places[len(embeds) :]

    inner = innermost(dataset)
    if args.superclasses or isinstance(inner, COCOMultiLabel):
        groups = read_superclasses(args.superclasses or inner.ann_file, names)
    else:
        groups = frequent_groups(labels, names)
    title = f'{len(embeds)} label embeddings of {number} images{", projected" * args.projected}'
    figure = draw_embeddings(points, labels, star_places, names, groups, title=title)
    write_picture(args.out, figure)
    table = args.out.with_suffix('.npz')
    write_arrays(
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
