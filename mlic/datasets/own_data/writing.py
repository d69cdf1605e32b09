"""What the tools for a user's own images share: options, reading, the JSON files, the counts."""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import Counter
from difflib import get_close_matches
from pathlib import Path

from mlic.names import first_names

from .config import next_commands, work_dir, write_config
from .splits import SPLITS, Image, choose_splits

SPLIT_NAMES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
RARE = 10  # training images of a class, below which it is named
FEW = 5  # the same of the other splits
SIMILAR = 0.8  # of difflib: 'treee' and 'tree' have 0.89, 'cat' and 'cow' 0.33
NOT_NAMES = {'nan', 'none', 'null', 'n/a', 'na', '?', '-', 'unknown'}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all tools of this kind have."""
    parser.add_argument('--out', type=Path, required=True, help='the files are written here')
    parser.add_argument('--val', type=float, default=0.1, help='share for validation (%(default)s)')
    parser.add_argument('--test', type=float, default=0.2, help='share for testing (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the split (%(default)s)')
    parser.add_argument(
        '--classes', type=Path, help='the labels there are, one a line, in this order'
    )
    parser.add_argument('--config', type=Path, help='config to write (OUT/<name of OUT>.py)')
    parser.add_argument(
        '--epochs', type=int, help='of training, at least 2 (about 400 iterations, 6 to 40 epochs)'
    )
    parser.add_argument(
        '--skip-missing', action='store_true', help='continue without what is missing, and count it'
    )


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with the usage if an option of :func:`add_options` makes no sense."""
    if not (args.val >= 0 and args.test >= 0 and args.val + args.test < 1):
        parser.error(
            f'--val and --test are shares that leave some for training: {args.val}, {args.test}'
        )
    if args.epochs is not None and args.epochs < 2:
        parser.error(f'--epochs must be at least 2, one for each stage: {args.epochs}')


def normalise(text: str) -> str:
    """One spelling for each name: accents may come as one character or as two."""
    return unicodedata.normalize('NFC', text.strip())


def read_text(path: Path) -> str:
    """A text file, with or without a byte order mark."""
    content = path.read_bytes()
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path}, line {line}: not UTF-8; save the file as UTF-8 ("CSV UTF-8" in a spreadsheet)'
        ) from error


def order_classes(images: list[Image], classes_file: Path | None) -> list[str]:
    """The classes of a file in its order, or those that occur, sorted.

    Raises:
        ValueError: If there is none, one comes twice, or an image has a label that the file lacks.
    """
    first = {}
    for image in images:
        for label in image.labels:
            first.setdefault(label, image)
    if not first:
        raise ValueError(f'none of the {len(images)} images has a label')
    if classes_file is None:
        return sorted(first)
    classes = [normalise(line) for line in read_text(classes_file).splitlines() if line.strip()]
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(f'{classes_file}: {twice[0]!r} is there twice')
    unknown = sorted(set(first) - set(classes))
    if unknown:
        raise ValueError(
            f'{len(unknown)} labels are not in {classes_file}, such as {unknown[0]!r} '
            f'({first[unknown[0]].where})'
        )
    return classes


def print_counts(images: list[Image], classes: list[str]) -> None:
    """Images per class and split, and what looks odd."""
    splits = [split for split in SPLITS if any(image.split == split for image in images)]
    counts = {split: Counter() for split in splits}
    for image in images:
        counts[image.split].update(image.labels)
    totals = Counter(image.split for image in images)
    empty = Counter(image.split for image in images if not image.labels)
    width = min(max(map(len, [*classes, 'without a label'])), 40)

    def row(name: str, values: Counter | dict) -> None:
        print(f'  {name:{width}}' + ''.join(f'{values[split]:>8}' for split in splits))

    def total(name: str) -> int:
        return sum(count[name] for count in counts.values())

    row('', {split: split for split in splits})
    for name in classes:
        row(name, {split: counts[split][name] for split in splits})
    row('images', totals)
    row('without a label', empty)

    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(' '.join(name.casefold().split()), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            print(f'warning: one label in several spellings? {", ".join(map(repr, names))}')
    frequent = [name for name in classes if total(name) >= RARE]
    for name in classes:
        similar = get_close_matches(name, frequent, 1, SIMILAR) if total(name) < FEW else []
        if similar:
            print(
                f'warning: possible typo: {name!r} ({total(name)}) looks like '
                f'{similar[0]!r} ({total(similar[0])})'
            )
    odd = [name for name in classes if name.casefold() in NOT_NAMES]
    if odd:
        print(f'warning: is this a label? {", ".join(map(repr, odd))}')
    rare = [name for name in classes if counts['train'][name] < RARE]
    if rare:
        print(f'{len(rare)} of {len(classes)} classes have fewer than {RARE} training images')
    for split in splits:
        lacking = [name for name in classes if not counts[split][name]]
        if lacking:
            print(f'{len(lacking)} have none in {split}: {first_names(lacking, 8)}')
        few = [name for name in classes if 0 < counts[split][name] < FEW]
        if few and split != 'train':
            fault = 'their AP depends on a handful of images'
            print(f'{len(few)} have fewer than {FEW} in {split}: {fault}')


def finish(
    args: argparse.Namespace, images: list[Image], folder: Path, classes: list[str] | None = None
) -> None:
    """Choose the splits, write the files, print the counts and what to do next."""
    if args.classes or not classes:
        classes = order_classes(images, args.classes)
    words = choose_splits(images, args.val, args.test, args.seed)
    splits = {split: [image for image in images if image.split == split] for split in SPLITS}
    if not splits['val'] and not splits['test']:
        raise ValueError('all images are for training: give --val or --test a share')
    print(f'split: {words}')
    print_counts(images, classes)
    args.out.mkdir(parents=True, exist_ok=True)
    index = {name: label for label, name in enumerate(classes)}
    for split, members in splits.items():
        file = args.out / f'{split}.json'
        file.unlink(missing_ok=True)  # of an earlier run, with other splits
        if members:
            data_list = [
                dict(img_path=image.path, gt_label=sorted(index[name] for name in image.labels))
                for image in sorted(members, key=lambda image: image.path)
            ]
            content = dict(metainfo=dict(classes=classes), data_list=data_list)
            file.write_text(json.dumps(content, ensure_ascii=False) + '\n', encoding='utf-8')
    (args.out / 'classes.txt').write_text('\n'.join(classes) + '\n', encoding='utf-8')
    sizes = Counter({split: len(members) for split, members in splits.items()})
    num_labels = sum(len(image.labels) for image in splits['train'])
    config = write_config(args, folder, sizes, len(classes), num_labels)
    print(f'written: {config}, and the labels in {args.out}')
    run = work_dir(config)
    if any(run.glob('*.pth')):
        print(
            f'warning: {run} has checkpoints of other labels: remove it, or train with '
            f'--work-dir {run}_2'
        )
    print('\nnext:')
    for command in next_commands(config):
        print(f'  {command}')
