"""The config that fits a user's own images."""

import math
import os
from pathlib import Path

from mlic.installation import ASSETS, find_config

from .splits import Image, count_unknown

CONFIG = """\
# {sizes[train]} images to train, {sizes[val]} to choose the best checkpoint, {sizes[test]} to test.
# Written by {tool}; change what you like.
_base_ = {base!r}

num_classes = {num_classes}
labels, images = {labels!r}, {images!r}  # relative paths start where the tools run
epochs = {epochs}
batches = {batches}  # of an epoch: {sizes[train]} images / {batch_size}

data_preprocessor = dict(num_classes=num_classes)
# a training image has {per_image:.2f} of {num_classes} labels{unknown}
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

train_cfg = dict(max_epochs=epochs)
custom_hooks = [
    _base_.custom_hooks[0],
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


def config_text(
    path: Path,
    labels: Path,
    images: Path,
    splits: dict[str, list[Image]],
    classes: list[str],
    epochs: int | None,
    tool: str,
) -> str:
    """A config that inherits the leaf for own images and fits these.

    Raises:
        ValueError: If a path has a pair of braces, for which mmengine puts in something else.
    """
    sizes = {split: len(members) for split, members in splits.items()}
    # at least 8 batches an epoch, and about 400 in all
    batch_size = next((size for size in (32, 16, 8, 4, 2) if sizes['train'] >= 8 * size), 1)
    batches = sizes['train'] // batch_size
    number = sum(len(image.labels) for image in splits['train'])
    unknown = count_unknown(splits['train'], classes)[0].total()
    known = sizes['train'] * len(classes) - unknown
    inside = ASSETS in path.resolve().parents
    leaf = Path(find_config('sadcl_efficientnet-lite0_own224'))
    base = os.path.relpath(leaf, path.resolve().parent) if inside else leaf
    run = work_dir(path).as_posix()
    for place in (base, labels, images, run):
        if '{{' in str(place):
            raise ValueError(f"{place}: '{{{{' in a path means something else in a config file")
    return CONFIG.format(
        tool=tool,
        sizes=sizes,
        base=Path(base).as_posix(),
        num_classes=len(classes),
        labels=labels.as_posix(),
        images=images.as_posix(),
        epochs=epochs or min(max(math.ceil(400 / batches), 6), 40),
        batches=batches,
        batch_size=batch_size,
        per_image=number / sizes['train'],
        unknown=f', and {unknown / sizes["train"]:.2f} are unknown' * bool(unknown),
        prior_prob=min(max(number / known, 0.001), 0.5),
        validation=VALIDATION[0 if sizes['val'] else 1],
        test='test' if sizes['test'] else 'val',
        work_dir=f'work_dir = {run!r}  # a run leaves a config there\n' * in_work_dir(path),
    )


def in_work_dir(config: Path) -> bool:
    """Whether training puts its files next to this config, unless told otherwise."""
    return config.resolve().parent == Path('work_dirs', config.stem).resolve()


def work_dir(config: Path) -> Path:
    """Where training puts its files."""
    return config.parent / 'run' if in_work_dir(config) else Path('work_dirs', config.stem)
