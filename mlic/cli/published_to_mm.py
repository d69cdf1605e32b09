"""Turn a checkpoint of a system's released code into one of this project.

    python tools/model_converters/published_to_mm.py checkpoint.pth.tar sadcl_r101.pth \
        --classes COCOMultiLabel
    python tools/test.py configs/sadcl/sadcl_r101_coco448.py sadcl_r101.pth

SRC, of the code of a system that docs/methods.md lists, is a dict with 'state_dict' (and
'state_dict_ema', taken with --ema) or a bare state dict; the names in it say whose it is. Where the
released code has the classes in alphabetical order, --classes puts them in the data set's. A memory
bank of SADCL is made for one batch size: a model with another ``bank_slots`` leaves it out with a
warning when it loads DST, as the published code does.
"""

import argparse
import importlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmpretrain.registry import DATASETS
from torch import Tensor, nn

from mlic.cli.arguments import keep_inputs, out_file
from mlic.engine.checkpoints.published import SYSTEMS, convert_published, reorder_classes
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.checkpoints.renaming import select_weights
from mlic.engine.runner.errors import one_line_errors
from mlic.files import atomic_write, map_array
from mlic.installation import method_modules
from mlic.models.layers.label_graph import LabelGraph
from mlic.models.layers.label_vectors import LabelVectors, read_vectors


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Turn a checkpoint of released code into one of this project, or back'
    )
    parser.add_argument('source', metavar='SRC', type=Path, help='checkpoint to read')
    parser.add_argument('target', metavar='DST', type=out_file(), help='checkpoint to write')
    parser.add_argument('--ema', action='store_true', help="take SRC's averaged weights")
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='SRC is of this project, DST for the released code (of SADCL)',
    )
    parser.add_argument(
        '--classes',
        metavar='DATASET',
        help='name the classes in DST, which SRC does not: those of a data set such as '
        'COCOMultiLabel, in its order. Training on other classes can then start from DST',
    )
    parser.add_argument(
        '--vectors',
        metavar='FILE',
        help='word vectors of the classes, for systems whose checkpoints lack them: in the text '
        "format of GloVe (needs --classes), or the released code's own .npy",
    )
    parser.add_argument(
        '--graph',
        metavar='FILE',
        help="which classes occur together, the released code's .npy, for systems whose "
        'checkpoints lack it',
    )
    args = parser.parse_args(argv)
    if args.vectors and not args.vectors.endswith('.npy') and not args.classes:
        parser.error('--vectors needs --classes, whose names are looked up')
    if args.reverse and (args.ema or args.classes):
        parser.error('--reverse takes neither --ema nor --classes')
    keep_inputs([args.target], args.source, args.vectors, args.graph)
    return args


def names_of_data(dataset: str) -> list[str]:
    """The names of a data set's classes.

    Raises:
        ValueError: If there is no such data set.
    """
    names = getattr(DATASETS.get(dataset), 'METAINFO', {}).get('classes')
    if not names:
        raise ValueError(f'--classes {dataset}: no data set of that name has names of classes')
    return list(names)


def add_class_info(
    weights: Mapping[str, Tensor],
    model: nn.Module,
    vectors: str | None,
    graph: str | None,
    names: Sequence[str] | None,
) -> dict[str, Tensor]:
    """Weights with the word vectors and the graph that the released checkpoint lacks.

    Raises:
        ValueError: If one is missing, and no file is given.
    """
    result = dict(weights)
    for name, module in model.named_modules():
        if isinstance(module, LabelVectors) and f'{name}.vectors' not in weights:
            if vectors is None:
                raise ValueError(
                    'the released checkpoint has no word vectors: give --vectors FILE and --classes'
                )
            if vectors.endswith('.npy'):
                found = read_floats(vectors, tuple(module.vectors.shape))
            else:
                found = torch.from_numpy(read_vectors(vectors, names))
            result[f'{name}.vectors'] = found
        if isinstance(module, LabelGraph) and f'{name}.matrix' not in weights:
            if graph is None:
                raise ValueError('the released checkpoint has no graph: give --graph FILE')
            result[f'{name}.matrix'] = read_floats(graph, tuple(module.matrix.shape))
    return result


def read_floats(path: str, shape: tuple[int, int]) -> Tensor:
    """The array of a ``.npy`` file, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an array of finite numbers of that shape.
    """
    array = map_array(path)
    if array.shape != shape or array.dtype.kind not in 'fiu':
        raise ValueError(
            f'{path} must hold numbers of shape {shape}, got {array.dtype} of shape {array.shape}'
        )
    found = torch.from_numpy(array.astype(np.float32))
    if not found.isfinite().all():
        raise ValueError(f'{path} holds values that are not finite')
    return found


def convert(args: argparse.Namespace, weights: Mapping[str, Tensor]) -> tuple[dict, str]:
    """The content of DST, and a line that describes the model."""
    system, weights = convert_published(weights)
    names = names_of_data(args.classes) if args.classes else None
    theirs = sorted(names) if names and system.alphabetical else names
    weights = add_class_info(weights, system.model_of(weights), args.vectors, args.graph, theirs)
    model = system.model_of(weights)
    description = system.check(weights, published=True)
    meta = dict(converted_from=args.source.name, ema=args.ema, model=description)
    if names:
        if len(names) != model.head.num_classes:
            raise ValueError(
                f'--classes {args.classes} has {len(names)} classes, and the checkpoint '
                f'{model.head.num_classes}'
            )
        if theirs != names:
            weights = reorder_classes(weights, model, [theirs.index(name) for name in names])
        meta.update(dataset_meta=dict(classes=names))
    return dict(state_dict=weights, meta=meta), description


def revert(weights: Mapping[str, Tensor]) -> tuple[dict, str]:
    """The content of DST for the released code, and a line that describes the model."""
    (system,) = [system for system in SYSTEMS.values() if system.revert]
    description = system.check(weights)
    return dict(state_dict=system.revert(weights)), description


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Write DST, and a line that describes the model."""
    args = parse_args(argv)
    for module in method_modules('published_weights'):
        importlib.import_module(module)
    weights = select_weights(read_checkpoint(args.source), args.ema)
    result, description = revert(weights) if args.reverse else convert(args, weights)
    with atomic_write(args.target) as file:
        content = io.BytesIO()  # on a full disk, torch's own writer would abort the process
        torch.save(result, content)
        file.write(content.getbuffer())
    print(f'{args.target}: {description}')
