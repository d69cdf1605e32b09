"""Draw how similar the class prototypes are: tools/analysis_tools/show_prototypes.py SRC

    python tools/analysis_tools/show_prototypes.py work_dirs/sadcl_r101_coco448 --projected
    python tools/analysis_tools/show_prototypes.py prototypes.npy --names classes.txt

SRC is a checkpoint of a model with SADCLHead, a work directory, or a .npy file (C, D). The
picture is the matrix of all cosines; the numbers are written next to it, as .csv, in its order.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mlic.cli.arguments import add_checkpoint_arguments, out_file
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.hooks.stage_restart_hook import untrained_warnings
from mlic.engine.runner.errors import one_line_errors
from mlic.files import read_class_file, write_picture
from mlic.models.layers.projector import Projector
from mlic.visualization.prototypes import (
    MAX_CLASSES,
    cluster_order,
    cosine_matrix,
    draw_prototypes,
    write_table,
)
from projects.sadcl.models.sadcl_head import read_prototypes

PREFIX = 'head.projector.'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the cosines of class prototypes')
    what = 'checkpoint file, a work directory: its best (else latest) one, or .npy file'
    add_checkpoint_arguments(parser, 'source', metavar='SRC', help=what)
    parser.add_argument(
        '--out', type=out_file('.png'), default='prototypes.png', help='picture (%(default)s)'
    )
    parser.add_argument(
        '--projected', action='store_true', help="the prototypes after the head's projector"
    )
    parser.add_argument(
        '--names', type=Path, help="class names, one a line (default: the checkpoint's, or indices)"
    )
    parser.add_argument(
        '--order',
        choices=('cluster', 'given'),
        default='cluster',
        help='similar classes side by side, or as they are numbered (%(default)s)',
    )
    args = parser.parse_args(argv)
    args.table = args.out.with_suffix('.csv')
    if args.names and args.names.resolve() == args.table.resolve():
        parser.error(f'the table would overwrite --names {args.names}: choose another --out')
    return args


@torch.no_grad()
def project(prototypes: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """g(prototypes) (C, P) by a checkpoint's projector; a zero prototype stays zero."""
    ours = [name for name in weights if str(name).startswith(PREFIX)]
    projector = {name.removeprefix(PREFIX): weights[name] for name in ours}
    if not projector:
        raise ValueError(f'--projected needs a projector, and there is no {PREFIX}* in SRC')
    try:
        network = Projector(prototypes.shape[1], len(projector['2.bias']))
        network.load_state_dict(projector)
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f'the projector in SRC does not fit its prototypes: {error}') from error
    return network(prototypes) * prototypes.any(dim=1, keepdim=True)


def load_prototypes(
    source: str, projected: bool, stage: str = 'best'
) -> tuple[Tensor, Sequence[str] | None]:
    """Prototypes (C, D), or projected ones (C, P), and the names of the classes if SRC has them."""
    if source.endswith('.npy'):
        if projected:
            raise ValueError(f'--projected needs a checkpoint: {source} has no projector')
        return read_prototypes(source), None
    found = find_checkpoint(source, stage)
    print(f'checkpoint: {found}')
    content = read_checkpoint(found.path)
    weights = content.get('state_dict') or content
    if not isinstance(weights.get('head.prototypes'), Tensor):
        raise ValueError(
            f'{found.path} has no head.prototypes: SADCLHead with SSCL or PSCL is needed, and '
            'published files have none; give the checkpoint or the work directory of the '
            "model's own training"
        )
    meta = content.get('meta') or {}
    for line in untrained_warnings(found, meta, weights):
        print(line)
    prototypes = weights['head.prototypes'].float()
    if projected:
        prototypes = project(prototypes, weights)
    dataset_meta = meta.get('dataset_meta') or {}
    return prototypes, dataset_meta.get('classes')


def report(cosines: Tensor, names: Sequence[str]) -> None:
    """Print the closest pair, and the classes without a prototype."""
    pairs = torch.ones_like(cosines, dtype=torch.bool).triu(1) & ~cosines.isnan()
    if pairs.any():
        highest = cosines.masked_fill(~pairs, -torch.inf).argmax()
        first, second = divmod(int(highest), len(names))
        print(f'closest: {names[first]} and {names[second]}, {cosines[first, second]:.3f}')
    zero = [names[label] for label in cosines.diagonal().isnan().nonzero()[:, 0]]
    if zero:
        print(f'zero, left blank: {", ".join(zero)}')


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Draw, write and report."""
    args = parse_args(argv)
    prototypes, names = load_prototypes(args.source, args.projected, args.stage)
    if len(prototypes) > MAX_CLASSES:
        raise ValueError(
            f'{len(prototypes)} prototypes are too many for a picture, at most {MAX_CLASSES}: save '
            'those of some classes as a .npy file, and their names for --names'
        )
    if args.names:
        names = read_class_file(args.names)
    cosines = cosine_matrix(prototypes)
    names = [str(name).strip() for name in (range(len(cosines)) if names is None else names)]
    order = cluster_order(cosines) if args.order == 'cluster' else list(range(len(cosines)))
    subject = 'projected prototypes' if args.projected else 'prototypes'
    figure = draw_prototypes(cosines, names, order, subject=subject)
    write_picture(args.out, figure)
    write_table(args.table, cosines, names, order)
    report(cosines, names)
    print(f'table: {args.table}')
    print(f'picture: {args.out}')
