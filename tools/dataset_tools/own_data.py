"""What the tools for a user's own images share: the splits, the JSON files, the counts."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shlex
import shutil
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEAF = ROOT / 'configs' / 'sadcl' / 'sadcl_efficientnet-lite0_own224.py'
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.gif')
SPLITS = ('train', 'val', 'test')
SPLIT_NAMES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
RARE = 10  # training images of a class, below which it is named
NOT_NAMES = {'nan', 'none', 'null', 'n/a', 'na', '?', '-', 'unknown'}

CONFIG = """\
# {sizes[train]} images to train, {sizes[val]} to choose the best checkpoint, {sizes[test]} to test.
# Written by tools/dataset_tools/{tool}; change what you like.
_base_ = {base!r}

num_classes = {num_classes}
labels, images = {labels!r}, {images!r}
epochs = {epochs}
batches = {batches}  # of an epoch: {sizes[train]} images / {batch_size}

data_preprocessor = dict(num_classes=num_classes)
# a training image has {per_image:.2f} of {num_classes} labels
model = dict(
    neck=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes, prior_prob={prior_prob:.3g}),
)
auto_scale_lr = dict(base_batch_size={batch_size})
train_dataloader = dict(
    batch_size={batch_size},
    dataset=dict(ann_file=labels + '/train.json', data_prefix=images),
)
{validation}
test_dataloader = dict(dataset=dict(ann_file=labels + '/{test}.json', data_prefix=images))

param_scheduler = [{{**_base_.param_scheduler[0], 'end': epochs}}]
train_cfg = dict(max_epochs=epochs)
custom_hooks = [
    dict(type='EMAHook', momentum=min(10 / (epochs * batches), 0.5), priority='ABOVE_NORMAL'),
    # the contrastive losses run in the last third
    dict(type='PrototypeHook', begin=epochs * 2 // 3 + 1, threshold=0.0),
]
{work_dir}"""
VALIDATION = (
    "val_dataloader = dict(dataset=dict(ann_file=labels + '/val.json', data_prefix=images))",
    'val_dataloader = val_evaluator = val_cfg = None\n'
    'default_hooks = dict(checkpoint=dict(save_best=None))',
)


@dataclass
class Image:
    """An image and its labels.

    ``path`` is relative to the image folder, ``where`` tells a reader where it was listed, and
    ``split`` is None where it is still to be chosen.
    """

    path: str
    labels: set[str]
    where: str
    split: str | None = None


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
        '--skip-missing', action='store_true', help='go on without what is missing, and count it'
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


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Images and other files below a folder, sorted, relative to it; links are followed."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder')
    images, others, seen = [], [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to one of its parents
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in files:
            if not name.startswith('.'):
                path = (Path(parent) / name).relative_to(folder).as_posix()
                (images if path.lower().endswith(SUFFIXES) else others).append(path)
    return sorted(images), sorted(others)


def stratify(labels: list[set[str]], shares: dict[str, float], seed: int) -> list[str]:
    """A split for each image, such that every class is shared out like the images.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011): the rarest class first,
    each of its images to the split that lacks most of that class. What differs: at the end a class
    without a training image gets one.

    Args:
        labels (list[set[str]]): Of each image.
        shares (dict[str, float]): Of each split, summing to 1, 'train' among them.
        seed (int): Of the order of the images and of ties.
    """
    shares = {split: share for split, share in shares.items() if share > 0}
    generator = random.Random(seed)
    order = generator.sample(range(len(labels)), len(labels))
    images_of: dict[str, list[int]] = {}
    for index in order:
        for label in sorted(labels[index]):
            images_of.setdefault(label, []).append(index)
    lacking = {split: Counter() for split in shares}
    for split, share in shares.items():
        lacking[split].update({label: share * len(images) for label, images in images_of.items()})
        lacking[split][None] = share * len(labels)  # of all images
    left = Counter({label: len(images) for label, images in images_of.items()})
    chosen: dict[int, str] = {}

    def place(index: int, label: str | None) -> None:
        split = max(shares, key=lambda s: (lacking[s][label], lacking[s][None], generator.random()))
        chosen[index] = split
        lacking[split].subtract([*labels[index], None])
        left.subtract(labels[index])

    todo = set(images_of)
    while todo:
        rarest = min(todo, key=lambda name: (left[name], name))
        todo.remove(rarest)
        for index in images_of[rarest]:
            if index not in chosen:
                place(index, rarest)
    for index in order:
        if index not in chosen:
            place(index, None)
    for images in images_of.values():
        if all(chosen[index] != 'train' for index in images):
            chosen[images[0]] = 'train'
    return [chosen[index] for index in range(len(labels))]


def choose_splits(images: list[Image], val: float, test: float, seed: int) -> str:
    """Fill in ``split`` where it is None; returns what was done, in words.

    Given splits are kept. Where they lack validation images, ``val`` of the training images
    become some; a given split without test images stays so.
    """
    given = {image.split for image in images}
    if None in given:
        free, shares = images, dict(train=1 - val - test, val=val, test=test)
        words = f'chosen at random (seed {seed}), every class shared out alike'
    else:
        words = 'as given'
        if 'train' not in given:
            raise ValueError(f'no image is in the split train, only in {sorted(given)}')
        if 'val' in given or not val:
            return words
        free = [image for image in images if image.split == 'train']
        shares = dict(train=1 - val, val=val)
        words += f'; {val:.0%} of the training images (seed {seed}) are for validation'
    for image, split in zip(free, stratify([image.labels for image in free], shares, seed)):
        image.split = split
    for split, share in shares.items():
        if share > 0 and not any(image.split == split for image in free):
            raise ValueError(
                f'{len(free)} images are too few for {share:.0%} in {split}: give a larger '
                f'--{split}, or 0 to go without'
            )
    return words


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


def name_some(names: list[str], most: int = 8) -> str:
    """The first of the names."""
    return ', '.join(names[:most]) + (', …' if len(names) > most else '')


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
    odd = [name for name in classes if name.casefold() in NOT_NAMES]
    if odd:
        print(f'warning: is this a label? {", ".join(map(repr, odd))}')
    rare = [name for name in classes if counts['train'][name] < RARE]
    if rare:
        print(f'{len(rare)} of {len(classes)} classes have fewer than {RARE} training images')
    for split in splits:
        lacking = [name for name in classes if not counts[split][name]]
        if lacking:
            print(f'{len(lacking)} have none in {split}: {name_some(lacking)}')


def write_config(
    args: argparse.Namespace, folder: Path, sizes: Counter, num_classes: int, num_labels: int
) -> Path:
    """A config that inherits the leaf and fits the images; an edited one is kept aside."""
    stem = re.sub(r'\W+', '_', args.out.resolve().name).strip('_') or 'own'
    path = args.config or args.out / f'{stem}.py'
    # at least 8 batches an epoch, and about 400 in all
    batch_size = next((size for size in (32, 16, 8, 4, 2) if sizes['train'] >= 8 * size), 1)
    batches = sizes['train'] // batch_size
    inside = ROOT in path.resolve().parents
    base = os.path.relpath(LEAF, path.resolve().parent) if inside else LEAF
    run = (path.parent / 'run').as_posix()
    text = CONFIG.format(
        tool=Path(sys.argv[0]).name,
        sizes=sizes,
        base=Path(base).as_posix(),
        num_classes=num_classes,
        labels=args.out.as_posix(),
        images=folder.as_posix(),
        epochs=args.epochs or min(max(math.ceil(400 / batches), 6), 40),
        batches=batches,
        batch_size=batch_size,
        per_image=num_labels / sizes['train'],
        prior_prob=min(max(num_labels / sizes['train'] / num_classes, 0.001), 0.5),
        validation=VALIDATION[0 if sizes['val'] else 1],
        test='test' if sizes['test'] else 'val',
        work_dir=f'work_dir = {run!r}  # a run leaves a config there\n'
        if in_work_dir(path)
        else '',
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding='utf-8') != text:
        kept = path.with_name(path.name + '.old')
        path.replace(kept)
        print(f'{path} was there with other contents: kept as {kept}')
    path.write_text(text, encoding='utf-8')
    return path


def in_work_dir(config: Path) -> bool:
    """Does training put its files beside this config, unless told otherwise?"""
    return config.resolve().parent == Path('work_dirs', config.stem).resolve()


def next_commands(config: Path) -> list[str]:
    """What to type next, in the directory the tool was started in."""
    inside = Path.cwd() == ROOT or ROOT in Path.cwd().parents
    tools = Path(os.path.relpath(ROOT / 'tools') if inside else ROOT / 'tools')
    found = shutil.which('python')
    same = found and os.path.realpath(found) == os.path.realpath(sys.executable)
    python = 'python' if same else os.path.relpath(sys.executable) if inside else sys.executable
    run = config.parent / 'run' if in_work_dir(config) else Path('work_dirs', config.stem)
    return [
        shlex.join([python, *map(str, command)])
        for command in (
            [tools / 'dataset_tools/verify.py', config],
            [tools / 'dataset_tools/browse.py', config, '--out', config.with_suffix('.png')],
            [tools / 'train.py', config],
            [tools / 'test.py', config, run],
        )
    ]


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
    print(f'written: {config}, and the labels in {args.out}\n\nnext:')
    for command in next_commands(config):
        print(f'  {command}')
