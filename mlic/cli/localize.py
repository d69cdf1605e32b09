"""Measure where a model looks: tools/analysis_tools/localize.py CONFIG CHECKPOINT --masks MASKS

    localize.py CONFIG CHECKPOINT --masks data/ccp/pixel_maps --names data/ccp/pixel_map_names.json
    localize.py CONFIG CHECKPOINT --masks VOC2012/SegmentationClass
    localize.py CONFIG CHECKPOINT --masks annotations/instances_val2014.json
    localize.py CONFIG CHECKPOINT … --out sarl.json --against cam.json

For each test image and each of its labels with a mask: is the map's highest pixel in the mask, how
much of the map is, and how well does the map, cut at a threshold, cover it. Means are over classes.
Several checkpoints, of several seeds, are averaged pair by pair. Intervals are over images.
"""

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset, default_collate
from rich.progress import track
from torch import Tensor, nn

from mlic.cli import arguments
from mlic.cli.run_data import build_dataset, open_checkpoint
from mlic.datasets.pictures import keeps_frame
from mlic.datasets.pixel_masks import COCOMasks, IndexMasks, Masks
from mlic.datasets.wrappers import transforms_of
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.bootstrap import bootstrap_weights, mean_over_classes, means_by_class
from mlic.evaluation.localization import MEASURES, measure_map
from mlic.files import read_json, write_json
from mlic.models.class_maps import KINDS, class_maps, own_kind
from mlic.names import markdown_text, printable

MEAN_MASK, SIDE = 'mean-mask', 32  # cells of a side
Reader = IndexMasks | COCOMasks


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure where a model looks, by pixel masks')
    arguments.add_config_argument(parser)
    what = 'checkpoint files, or work directories: their best (else latest) ones'
    arguments.add_checkpoint_arguments(parser, nargs='+', help=what)
    parser.add_argument(
        '--masks',
        type=Path,
        required=True,
        help="a folder of PNGs with each pixel's class index, or a .json file in COCO's format",
    )
    parser.add_argument(
        '--names',
        type=Path,
        help='names of the indices from 0: a .json list, or a text with a name a line (0 is the '
        'background, 1 the first class; 255 is always unknown)',
    )
    parser.add_argument(
        '--maps',
        choices=(*KINDS, MEAN_MASK),
        help='(the first of these that the model has); mean-mask sees no image: the '
        "mean of the class's other masks",
    )
    arguments.add_number(parser, '--tolerance', 15.0, 'margin of "near", in mask pixels', least=0)
    what = 'pairs that a class needs to count in the means over classes'
    arguments.add_number(parser, '--least', 1, what)
    parser.add_argument(
        '--out', type=arguments.out_file('.json'), help='write the measures of each pair'
    )
    parser.add_argument(
        '--against', type=Path, metavar='JSON', help='file of --out of another model, to subtract'
    )
    arguments.add_cfg_options(parser, 'test_dataloader.dataset.indices=200')
    args = parser.parse_args(argv)
    arguments.keep_inputs([args.out], args.masks, args.names, args.against)
    return args


def image_names(dataset: BaseDataset) -> list[str]:
    """The names of the images' files, by which masks are found; SystemExit unless they differ."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    if infos and 'img_path' not in infos[0]:
        raise SystemExit(f'{type(dataset).__name__} has no image files, by which masks are found')
    names = [Path(info['img_path']).name for info in infos]
    for stem, count in Counter(Path(name).stem for name in names).items():
        if count > 1:
            raise SystemExit(f'{count} images are called {printable(stem)}: which has the mask?')
    return names


def check_frame(dataset: BaseDataset, item: dict, inputs: Tensor) -> None:
    """SystemExit unless the model sees the whole image and nothing else, as the masks do."""
    if keeps_frame(transforms_of(dataset)) and item['inputs'].shape[-2:] == inputs.shape[-2:]:
        return
    raise SystemExit(
        'the test pipeline cuts off or adds a border, and masks are of the whole image: set '
        'test_dataloader.dataset.pipeline to load, Resize(scale=(S, S)) and pack, and the '
        "preprocessor's pad_size_divisor to 1"
    )


def labelled(dataset: BaseDataset, masks: Reader, index: int) -> Masks | None:
    """The masks of an image's own labels, in their order; None if it has no masks at all."""
    info = dataset.get_data_info(index)
    found = masks.read(info['img_path'])
    if found is None:
        return None
    labels = sorted(set(info['gt_label']) & found.of.keys())
    return Masks(found.known, {label: found.of[label] for label in labels})


def shrink(mask: np.ndarray) -> np.ndarray:
    """A mask as shares of ``SIDE`` x ``SIDE`` cells."""
    return cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def sum_masks(dataset: BaseDataset, masks: Reader) -> dict[int, np.ndarray]:
    """The shrunken masks of each label, summed over all images that have it."""
    sums = {}
    for index in track(range(len(dataset)), 'masks'):
        own = labelled(dataset, masks, index)
        for label, mask in own.of.items() if own else ():
            sums[label] = sums.get(label, 0) + shrink(mask)
    return sums


@torch.no_grad()
def maps_of(model: nn.Module, dataset: BaseDataset, index: int, own: Masks, kind: str) -> Tensor:
    """The maps (M, h, w) of the M labels that an image has masks of.

    Raises:
        SystemExit: If maps and masks do not lie on one another.
    """
    item = dataset[index]
    sample, size = item['data_samples'], own.known.shape
    seen = tuple(sample.get('ori_shape', size))  # stored features do not say
    if seen != size:
        raise SystemExit(f'{sample.img_path} has {seen} pixels, its masks have {size}')
    inputs = model.data_preprocessor(default_collate([item]), False)['inputs']
    check_frame(dataset, item, inputs)
    feats = model.extract_feat(inputs, stage='backbone')
    return class_maps(model, feats, sample, torch.tensor([*own.of], device=inputs.device), kind)


def measure(
    model: nn.Module, dataset: BaseDataset, masks: Reader, kind: str, tolerance: float
) -> dict[str, np.ndarray]:
    """Of each pair of an image and a label with a mask: both indices, and all measures, (P, …).

    Raises:
        SystemExit: If there is no such pair, or maps and masks do not lie on one another.
    """
    rows, without = [], 0
    sums = sum_masks(dataset, masks) if kind == MEAN_MASK else {}
    for index in track(range(len(dataset)), 'test set'):
        own = labelled(dataset, masks, index)
        without += own is None
        if not own or not own.of:
            continue
        if kind == MEAN_MASK:  # of the other images
            maps = np.stack([sums[label] - shrink(mask) for label, mask in own.of.items()])
            maps = torch.from_numpy(maps)
        else:
            maps = maps_of(model, dataset, index, own, kind)
        # enlarged as in the pictures
        heats = F.interpolate(maps[:, None], own.known.shape, mode='bicubic')[:, 0].cpu().numpy()
        for (label, mask), heat in zip(own.of.items(), heats):
            found = measure_map(heat, mask, own.known, tolerance)
            rows.append(dict(image=index, label=label, **found))
    if not rows:
        raise SystemExit('no image of the test set has a mask of one of its labels')
    if without:
        print(f'{without} of {len(dataset)} images have no masks and are left out')
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def measure_checkpoints(args: argparse.Namespace) -> tuple[dict, dict[str, np.ndarray]]:
    """What is measured, as a file says it, and the measures, averaged over the checkpoints."""
    sums, kind = {}, args.maps
    for checkpoint in args.checkpoint:
        run = open_checkpoint(args, checkpoint=checkpoint)
        dataset = build_dataset(run.config, 'test')
        names = image_names(dataset)
        if args.masks.suffix == '.json':
            masks = COCOMasks(args.masks, run.classes)
        else:
            masks = IndexMasks(args.masks, run.classes, args.names)
        kind = kind or own_kind(run.model)
        for key, values in measure(run.model, dataset, masks, kind, args.tolerance).items():
            sums[key] = sums.get(key, 0) + values
    pairs = {key: values / len(args.checkpoint) for key, values in sums.items()}
    pairs |= {key: pairs[key].astype(int) for key in ('image', 'label')}
    return dict(maps=kind, tolerance=args.tolerance, classes=run.classes, images=names), pairs


def cut_at_best(pairs: dict[str, np.ndarray], counted: np.ndarray) -> float:
    """Set ``iou`` at the threshold that is best for the mean over classes, which is returned."""
    curves = pairs.pop('curve')  # (P, 100)
    best = int(means_by_class(curves[counted], pairs['label'][counted]).mean(axis=0).argmax())
    pairs['iou'] = curves[:, best]
    return (best + 1) / curves.shape[1]


def with_interval(values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> str:
    """The mean over classes in percent, with the middle 95 % of resamples; – if all are NaN."""
    if np.isnan(values).all():
        return '–'
    means = mean_over_classes(means_by_class(values, labels, weights))  # (R,)
    low, high = 100 * np.nanquantile(means, (0.025, 0.975))
    mean = 100 * mean_over_classes(means_by_class(values, labels))
    return f'{mean:.1f} ({low:.1f} … {high:.1f})'


def read_other(path: Path, content: dict) -> dict[str, np.ndarray]:
    """The measures of another model for the same pairs.

    Raises:
        ValueError: If the file is no ``--out``, or of other images, labels or tolerance.
    """
    other = read_json(path)
    try:
        same = {key: other[key] == content[key] for key in ('classes', 'images', 'tolerance')}
        pairs = {key: np.asarray(other['pairs'][key]) for key in content['pairs']}
        for values in pairs.values():
            is_plain = values.dtype.kind in 'fi' and values.shape == pairs['image'].shape
            if not is_plain or not np.isfinite(values).all():
                raise TypeError
    except (KeyError, TypeError, ValueError) as error:  # the last: lists of several lengths
        raise ValueError(f'{path}: not a file of localize.py --out') from error
    for key in same:
        if not same[key]:
            raise ValueError(f'{path} has other {key} than this')
    if any(pairs[key].tolist() != content['pairs'][key] for key in ('image', 'label')):
        raise ValueError(f'{path} has other pairs of an image and a label than this')
    return pairs


def overall_table(
    title: str, pairs: dict[str, np.ndarray], other: dict, threshold: float, tolerance: float
) -> list[str]:
    """The lines of a table: the model, what differs from another, and blind guesses."""
    labels = pairs['label']
    images, rows_of = np.unique(pairs['image'], return_inverse=True)
    weights = bootstrap_weights(len(images))[rows_of]
    columns = 'inside', f'near ({tolerance:g} px)', 'energy', f'IoU at {threshold:.2f}', 'IoU, own'
    rows = [(title, [pairs[key] for key in MEASURES])]
    if other:
        rows.append(('difference', [pairs[key] - other[key] for key in MEASURES]))
    blind = 'area', 'area_near', 'area', 'area', 'area'
    rows.append(('any pixel', [pairs[key] for key in blind]))
    rows.append(('the centre', [pairs[key] for key in ('centre', 'centre_near')]))
    lines = [f'| mean over {len(np.unique(labels))} classes | {" | ".join(columns)} |']
    lines.append('|---' * (len(columns) + 1) + '|')
    for name, values in rows:
        cells = [with_interval(each, labels, weights) for each in values]
        lines.append(f'| {name} | {" | ".join(cells + [""] * (len(columns) - len(cells)))} |')
    return lines


def class_table(pairs: dict[str, np.ndarray], classes: list[str]) -> list[str]:
    """The lines of a table of the classes, the most frequent first, in percent."""
    keys = *MEASURES, 'area'
    found, counts = np.unique(pairs['label'], return_counts=True)
    means = np.stack([means_by_class(pairs[key], pairs['label']) for key in keys], axis=1)
    lines = ['| class | pairs | inside | near | energy | IoU | IoU, own | any pixel |']
    lines.append('|---' * (len(keys) + 2) + '|')
    for place in np.argsort(-counts, kind='stable'):
        cells = ' | '.join(f'{100 * value:.1f}' for value in means[place])
        name = markdown_text(printable(classes[found[place]]))
        lines.append(f'| {name} | {counts[place]} | {cells} |')
    return lines


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    content, pairs = measure_checkpoints(args)
    counted = np.bincount(pairs['label'])[pairs['label']] >= args.least
    if not counted.any():
        raise SystemExit(f'no class has {args.least} pairs (--least)')
    threshold = cut_at_best(pairs, counted)
    kept = {key: pairs[key].round(5).tolist() for key in ('image', 'label', *MEASURES)}
    content = dict(content, threshold=threshold, pairs=kept)
    other = read_other(args.against, content) if args.against else {}
    title = f'{content["maps"]} of {Path(args.config).stem}'
    print(f'{len(pairs["label"])} pairs of {len(np.unique(pairs["image"]))} images, in percent\n')
    chosen, minus = ({k: values[counted] for k, values in p.items()} for p in (pairs, other))
    print(*overall_table(title, chosen, minus, threshold, args.tolerance), '', sep='\n')
    print(*class_table(pairs, content['classes']), sep='\n')
    if args.out:
        write_json(args.out, content, indent=None)
        print(f'\nmeasures of each pair: {args.out}')
