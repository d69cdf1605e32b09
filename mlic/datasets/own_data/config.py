"""The config that fits a user's own images, and what to type next."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

from mlic.installation import ASSETS, command_words, find_config

CONFIG = """\
# {sizes[train]} images to train, {sizes[val]} to choose the best checkpoint, {sizes[test]} to test.
# Written by {tool}; change what you like.
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
    "val_dataloader = dict(dataset=dict(ann_file=labels + '/val.json', data_prefix=images))\n"
    'default_hooks = dict(logger=dict(interval=max(batches // 4, 1)))',
    'val_dataloader = val_evaluator = val_cfg = None\n'
    'default_hooks = dict(\n'
    '    checkpoint=dict(save_best=None), logger=dict(interval=max(batches // 4, 1))\n'
    ')',
)


def write_config(
    args: argparse.Namespace, folder: Path, sizes: Counter, num_classes: int, num_labels: int
) -> Path:
    """A config that inherits the leaf and fits the images; an edited one is kept aside."""
    stem = re.sub(r'\W+', '_', args.out.resolve().name).strip('_') or 'own'
    path = args.config or args.out / f'{stem}.py'
    # at least 8 batches an epoch, and about 400 in all
    batch_size = next((size for size in (32, 16, 8, 4, 2) if sizes['train'] >= 8 * size), 1)
    batches = sizes['train'] // batch_size
    inside = ASSETS in path.resolve().parents
    leaf = Path(find_config('sadcl_efficientnet-lite0_own224'))
    base = os.path.relpath(leaf, path.resolve().parent) if inside else leaf
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


def work_dir(config: Path) -> Path:
    """Where training puts its files."""
    return config.parent / 'run' if in_work_dir(config) else Path('work_dirs', config.stem)


def next_commands(config: Path) -> list[str]:
    """What to type next, in the directory the tool was started in."""
    picture = config.with_suffix('.png')
    return [
        shlex.join([*command_words(tool), *map(str, arguments)])
        for tool, *arguments in (
            ('dataset_tools/verify_dataset.py', config),
            ('dataset_tools/browse_dataset.py', config, '--out', picture),
            ('train.py', config),
            ('test.py', config, work_dir(config)),
        )
    ]
