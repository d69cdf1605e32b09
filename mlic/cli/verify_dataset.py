"""Check a config's data before training: labels, files, pixels, splits, number of classes.

    python tools/dataset_tools/verify_dataset.py CONFIG [--no-decode] [--out broken.txt]

For each split it counts images and labels, looks for every image, decodes it, and says which
published split the counts belong to. It exits with 1 if something is wrong; its last line says OK
or what to do.
"""

import argparse
import csv
import sys
from collections import Counter
from dataclasses import dataclass, field

from mmengine.config import Config

from mlic.cli import arguments
from mlic.cli.image_checks import CHOSEN_BY, DECODERS, SHOWN, Findings, Split, check_files
from mlic.cli.run_data import build_dataset
from mlic.datasets.list_files import NO_LIST, label_fault, labels_text
from mlic.datasets.own_data.labels import describe_unknown, look_alikes
from mlic.datasets.own_data.splits import SPLITS
from mlic.datasets.wrappers import inner_configs
from mlic.engine.checkpoints.matching import class_difference
from mlic.engine.config.sections import hook_class, hooks_of
from mlic.engine.runner.class_means import prototype_loader_config
from mlic.engine.runner.errors import one_line_errors
from mlic.files import read_lines, write_text
from mlic.installation import PACKAGE
from mlic.names import counted, first_names, repeated

# There are no published checksums of these splits: their counts tell them apart.
KNOWN_SPLITS = PACKAGE / 'datasets' / 'known_splits.csv'
BENCHMARKS = ('COCOMultiLabel', 'NUSWIDE', 'VG500', 'VOC', 'VOCMultiLabel')


@dataclass
class Counts:
    """Of the images whose lists are lists: labels of each, images of each class, and gaps."""

    labels: list[int] = field(default_factory=list)
    present: Counter = field(default_factory=Counter)
    unknown: Counter = field(default_factory=Counter)
    nothing_known: int = 0


def read_split(cfg: Config, name: str) -> Split:
    """The data set and all paths of a split."""
    dataset = build_dataset(cfg, name)
    parts = inner_configs(cfg[f'{name}_dataloader'].dataset)
    pipelines = [part.get('pipeline') or [] for part in parts]
    from_files = any('Load' in str(step['type']) for pipeline in pipelines for step in pipeline)
    images = range(len(dataset)) if from_files else ()
    paths = [dataset.get_data_info(index)['img_path'] for index in images]
    return Split(name, parts[0].type, dataset.metainfo.get('classes'), dataset, paths)


def count_labels(split: Split, num_classes: int, findings: Findings) -> Counts:
    """Count them, and find those that no multi-hot target can hold."""
    counts, faults = Counts(), {}
    for index in range(len(split.dataset)):
        labels, unknown = split.labels_of(index)
        fault = label_fault(labels, num_classes, unknown)
        if fault:
            faults.setdefault(fault, []).append(index)
            if fault.startswith(NO_LIST):
                continue
        found, gaps = ({x for x in one if 0 <= x < num_classes} for one in (labels, unknown))
        counts.labels.append(len(found))
        counts.present.update(found)
        counts.unknown.update(gaps)
        counts.nothing_known += bool(gaps) and len(gaps) == num_classes
    for what, images in faults.items():
        where = split.paths[images[0]] if split.paths else f'image {images[0]}'
        findings.add(
            f'{split.name}: {what} in {len(images)} of {len(split.dataset)} images, such as '
            f'{where}: {labels_text(*split.labels_of(images[0]))}'
        )
    return counts


def describe(split: Split, num_classes: int, findings: Findings) -> None:
    """Print the counts of a split and name it."""
    counts = count_labels(split, num_classes, findings)
    num_images, num_labels = len(split.dataset), sum(counts.labels)
    print(f'  images           {num_images}')
    print(f'  classes          {num_classes}')
    if not num_images:
        findings.add(f'{split.name}: 0 images')
    if counts.labels:
        least, mean, most = min(counts.labels), num_labels / len(counts.labels), max(counts.labels)
        print(
            f'  labels           {num_labels}; per image: min {least}, mean {mean:.2f}, max {most}'
        )
    print(f'  without a label  {counted(counts.labels.count(0), "image")}')
    if num_images and not num_labels:
        need = 'nothing can be learnt' if split.name == 'train' else 'no metric is defined'
        findings.add(f'{split.name}: none of its {num_images} images has a label: {need}')
    one_sided = describe_classes(list(split.classes or range(num_classes)), counts)
    if one_sided and split.name != 'train':
        findings.add(
            f'{split.name}: no class has a known positive and a known negative: '
            'no metric is defined'
        )
    first_of, twice, differing = {}, 0, {}
    for index, path in enumerate(split.paths):
        first = first_of.setdefault(path, index)
        if first != index:
            twice += 1
            one, other = split.labels_of(first), split.labels_of(index)
            if one != other:
                differing.setdefault(path, (labels_text(*one), labels_text(*other)))
    if differing:
        path, both = next(iter(differing.items()))
        findings.add(
            f'{split.name}: {counted(len(differing), "image")} listed again with different labels, '
            f'such as {path}: {" and ".join(sorted(both))}'
        )
    if twice:
        print(f'  listed again     {counted(twice, "image")}')
    known = fingerprint(split, num_images, num_classes, num_labels)
    if known:
        print(f'  fingerprint      {known}')


def describe_classes(names: list, counts: Counts) -> bool:
    """Print which classes have no known positive or no known negative, and what is unknown.

    Returns:
        bool: Whether unknown labels leave every positive class without a known negative.
    """
    positive, gaps, images = counts.present, counts.unknown, len(counts.labels)
    negative = {i: images - positive[i] - gaps[i] for i in range(len(names))}
    for title, lacking in (
        ('without images', [name for i, name in enumerate(names) if not positive[i]]),
        ('never absent', [name for i, name in enumerate(names) if not negative[i]]),
    ):
        some = first_names(lacking, form=repr)
        print(f'  {title:16} {counted(len(lacking), "class")}{": " if lacking else ""}{some}')
    if gaps:
        named = Counter({str(names[i]): gaps[i] for i in sorted(gaps)})
        text = describe_unknown(named, images, len(names), counts.nothing_known)
        print(f'  unknown          {text}')
        width = min(max(len(str(name)) for name in names), 40)
        rows = [(name, positive[i], negative[i], gaps[i]) for i, name in enumerate(names)]
        for name, *row in [('class', 'present', 'absent', 'unknown'), *rows]:
            print(f'  {name!s:{width}}' + ''.join(f'{count:>10}' for count in row))
    return bool(positive) and all(gaps[i] and not negative[i] for i in positive)


def fingerprint(split: Split, images: int, classes: int, labels: int) -> str:
    """The published split that has these counts; nothing for data of one's own."""
    with KNOWN_SPLITS.open(encoding='utf-8', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['images'] == str(images)]
    for row in rows:
        if row['classes'] == str(classes):
            remark = f', {row["remark"]}' if row['remark'] else ''
            if row['labels'] in ('', str(labels)):
                return f'the counts of {row["split"]}{remark}'
            return f'the size of {row["split"]}, which has {row["labels"]} labels'
    if split.dataset_type in BENCHMARKS:
        return f'not the counts of a known split of {split.dataset_type}; a part of one?'
    if not split.paths:
        return f'{split.dataset_type} makes any number of images'
    return ''


def check_classes(cfg: Config, splits: list[Split], findings: Findings) -> None:
    """Compare the classes of the splits with one another and with the model."""
    model = cfg.get('model') or {}
    names = ('data_preprocessor', 'neck', 'head')
    parts = {
        'data_preprocessor': cfg.get('data_preprocessor'),
        **{f'model.{name}': model.get(name) for name in names},
    }
    for split in splits:
        if split.classes is None:
            findings.add(f'{split.name}: its classes have no names (metainfo, "classes")')
            continue
        again = repeated(split.classes)
        if again:
            findings.add(f'{split.name}: classes named twice: {first_names(again, form=repr)}')
    if splits:
        for alike in look_alikes(list(dict.fromkeys(splits[0].classes or ()))):
            print(f'  warning: one class in several spellings? {first_names(alike, form=repr)}')
    for number in sorted({len(split.classes) for split in splits if split.classes}):
        for name, found in (x for part in parts.items() for x in class_numbers(*part)):
            if found != number:
                findings.add(f'{name} is {found}, but the data have {number} classes')
    named = [split for split in splits if split.classes is not None]
    for split in named[1:]:
        names = [f'{one.name} data' for one in (split, named[0])]
        if difference := class_difference(split.classes, named[0].classes, names):
            findings.add(f'the {names[0]} have {difference}')


def class_numbers(name: str, part: dict | list | None) -> list[tuple[str, int]]:
    """Every num_classes of a part of the model, with its name in the config."""
    if isinstance(part, (list, tuple)):
        return [x for i, one in enumerate(part) for x in class_numbers(f'{name}[{i}]', one)]
    number = (part or {}).get('num_classes')
    return [] if number is None else [(f'{name}.num_classes', number)]


def verify(cfg: Config, args: argparse.Namespace) -> Findings:
    """Print what there is, and return what is wrong."""
    findings, splits, told = Findings(), [], {}
    for name in args.splits:
        loader = cfg.get(f'{name}_dataloader')
        if loader is None:
            print(f'{name}: the config has none')
            continue
        if loader.dataset in told.values():
            same = next(key for key, value in told.items() if value == loader.dataset)
            print(f'{name}: the same as {same}')
            if (same, name) == ('val', 'test'):
                print(f'  warning: {CHOSEN_BY}')
            if same == 'train':
                findings.add(f'{name}: its images are the training images')
            continue
        told[name] = loader.dataset
        print(f'{name}: {loader.dataset.type} {loader.dataset.get("ann_file", "")}'.rstrip())
        try:
            split = read_split(cfg, name)
        except ValueError as error:
            findings.add(str(error))
            continue
        number = class_numbers('', cfg.get('data_preprocessor'))
        num_classes = len(split.classes) if split.classes else number[0][1] if number else 0
        describe(split, num_classes, findings)
        splits.append(split)
    if not told:
        findings.add(f'the config has no data for {" or ".join(args.splits)}')
    check_classes(cfg, splits, findings)
    reads = any(getattr(hook_class(hook), 'reads_training_set', False) for hook in hooks_of(cfg))
    if reads and 'train' in told and len(told) > 1:
        try:
            prototype_loader_config(cfg)
        except ValueError as error:
            findings.add(str(error))
    if any(split.paths for split in splits):
        check_files(splits, args.decode, args.workers, findings)
    elif splits:
        print('no image files: the images are made on the fly')
    return findings


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Check a config's data before training")
    arguments.add_config_argument(parser)
    what = 'what is checked (all)'
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=SPLITS, help=what)
    parser.add_argument(
        '--decode',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='decode every image (the default), or only check that it exists',
    )
    arguments.add_number(parser, '--workers', DECODERS, 'processes that decode', least=0)
    what = '.txt file for the full list of broken images'
    parser.add_argument('--out', type=arguments.out_file('.txt'), help=what)
    arguments.add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.out and args.out.exists() and not all(': ' in line for line in read_lines(args.out)):
        raise ValueError(f'{args.out} is no list of broken images, and is kept: name another file')
    findings = verify(arguments.read_config(args), args)
    if args.out:
        write_text(args.out, ''.join(f'{line}\n' for line in findings.broken))
        print(f'{len(findings.broken)} broken images listed in {args.out}')
    elif len(findings.broken) > SHOWN:
        print('--out FILE lists all broken images')
    number = len(findings.problems)
    if number:
        sys.exit(f'{number} problem{"s" * (number > 1)} to fix before training, marked WRONG above')
    print('OK')
