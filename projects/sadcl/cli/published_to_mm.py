"""Turn a checkpoint of the published code into one of this project, or back.

    python tools/model_converters/published_to_mm.py checkpoint.pth.tar sadcl_r101.pth \
        --classes COCOMultiLabel
    python tools/test.py configs/sadcl/sadcl_r101_coco448.py sadcl_r101.pth

SRC, of SADCL's or Query2Label's code, is a dict with 'state_dict' (and 'state_dict_ema', taken with
--ema) or a bare state dict. A memory bank is made for one batch size: a model with another
``bank_slots`` leaves it out with a warning when it loads DST, as the published code does.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from mmpretrain.registry import DATASETS
from torch import Tensor

from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.checkpoints.renaming import select_weights
from mlic.engine.runner.errors import one_line_errors
from mlic.files import atomic_write
from projects.sadcl.converters.published_weights import (
    check_complete,
    convert_state_dict,
    revert_state_dict,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Turn a checkpoint of the published code into one of this project, or back'
    )
    parser.add_argument('source', metavar='SRC', type=Path, help='checkpoint to read')
    parser.add_argument('target', metavar='DST', type=Path, help='checkpoint to write')
    parser.add_argument('--ema', action='store_true', help="take SRC's averaged weights")
    parser.add_argument(
        '--reverse', action='store_true', help='SRC is of this project, DST for the published code'
    )
    parser.add_argument(
        '--classes',
        metavar='DATASET',
        help='name the classes in DST, which SRC does not: those of a data set such as '
        'COCOMultiLabel, in its order. Training on other classes can then start from DST',
    )
    args = parser.parse_args(argv)
    if args.reverse and (args.ema or args.classes):
        parser.error('--reverse takes neither --ema nor --classes')
    if args.target.resolve() == args.source.resolve():
        parser.error('DST must be another file than SRC')
    return args


def class_names(dataset: str, weights: Mapping[str, Tensor]) -> list[str]:
    """The names of a data set's classes.

    Raises:
        ValueError: If there is no such data set, or the weights have another number of classes.
    """
    names = getattr(DATASETS.get(dataset), 'METAINFO', {}).get('classes')
    if not names:
        raise ValueError(f'--classes {dataset}: no data set of that name has names of classes')
    if len(names) != len(weights['head.fc.bias']):
        raise ValueError(
            f'--classes {dataset} has {len(names)} classes, and the checkpoint '
            f'{len(weights["head.fc.bias"])}'
        )
    return list(names)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Write DST, and a line that describes the model."""
    args = parse_args(argv)
    content = read_checkpoint(args.source)
    weights = select_weights(content, args.ema)
    if args.reverse:
        description = check_complete(weights)
        result = dict(state_dict=revert_state_dict(weights))
    else:
        weights = convert_state_dict(weights)
        description = check_complete(weights, published=True)
        meta = dict(converted_from=args.source.name, ema=args.ema, model=description)
        if args.classes:
            meta.update(dataset_meta=dict(classes=class_names(args.classes, weights)))
        result = dict(state_dict=weights, meta=meta)
    with atomic_write(args.target) as file:
        torch.save(result, file)
    print(f'{args.target}: {description}')
