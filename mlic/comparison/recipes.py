"""A config as it is run: with other data, other settings, or a part of the training set."""

import copy
from itertools import pairwise

import numpy as np
from mmengine.config import Config, ConfigDict
from mmpretrain.registry import DATASETS

from mlic.datasets.wrappers import change_inner, inner_configs, pipeline_of
from mlic.engine.config.options import merge_options
from mlic.evaluation.matrices import class_indices
from mlic.literals import write_literals
from mlic.names import short
from mlic.registries import load_config

DATA_KEYS = (
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'val_evaluator',
    'test_evaluator',
)
NEEDED = (
    'model',
    'train_dataloader.dataset',
    'train_cfg',
    'optim_wrapper',
    'test_dataloader.dataset',
)


def load_recipe(path: str, options: dict | None = None) -> Config:
    """A config with ``--set`` entries, and with a model that the Runner would build.

    Raises:
        ValueError: If nothing reads an option, or as :func:`check_recipe`.
    """
    cfg = load_config(path)
    merge_options(cfg, options)
    check_recipe(cfg, path)
    return cfg


def check_recipe(cfg: Config, path: str) -> None:
    """Can it be trained and tested?

    Raises:
        ValueError: If an entry that this takes is no dict, or the config evaluates without
            ``MLICMetric``, which saves the predictions.
    """
    for key in NEEDED:
        found = entry_of(cfg, key)
        if not isinstance(found, dict):
            raise ValueError(f'{path}: {key} is {short(found)}, and a comparison trains and tests')
    evaluators = cfg.get('test_evaluator')
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    if not any(isinstance(x, dict) and x.get('type') == 'MLICMetric' for x in evaluators):
        raise ValueError(f'{path}: test_evaluator needs an MLICMetric, which saves predictions')


def num_views(cfg: Config) -> int:
    """How many augmented views of an image the training pipeline gives."""
    pipeline = inner_configs(cfg.train_dataloader.dataset)[0].get('pipeline', ())
    views = [transform.num_views for transform in pipeline if transform.type == 'MultiView']
    return int(np.sum(views)) if views else 1


def replace_data(cfg: Config, data: Config) -> None:
    """Train and evaluate on the data of another config; changes ``cfg``.

    Loaders (batch size and augmentation with them), preprocessor and evaluators are the other
    config's. What stays: the preprocessor's type, what it makes of unknown labels, and the number
    of views. Every ``num_classes`` and ``prior_prob`` of neck and head that is there is set to what
    the data have; ``prior_prob`` to the mean number of labels of a training image over that of the
    classes known in it.

    Raises:
        ValueError: If a key is missing.
    """
    missing = [key for key in DATA_KEYS if key not in data]
    if missing:
        raise ValueError(f'{data.filename} is no config of data: it has no {missing[0]}')
    views = num_views(cfg)
    kept = ('type', 'unknown')
    preprocessor = {key: cfg.data_preprocessor[key] for key in kept if key in cfg.data_preprocessor}
    for key in DATA_KEYS:
        cfg[key] = copy.deepcopy(data[key])
    if cfg.val_dataloader is None:
        cfg.val_cfg = None
        if entry_of(cfg, 'default_hooks.checkpoint'):
            cfg.default_hooks.checkpoint.save_best = None
    elif cfg.get('val_cfg') is None:
        cfg.val_cfg = dict()
    cfg.data_preprocessor.update(preprocessor)
    if views > 1:
        for one in inner_configs(cfg.train_dataloader.dataset):
            *before, last = one.pipeline
            num_read = sum(transform.type.startswith('Load') for transform in before)
            several = dict(type='MultiView', num_views=views, transforms=[before[num_read:]])
            one.pipeline = [*before[:num_read], several, last]
    num_classes = cfg.data_preprocessor.num_classes
    found = dict(num_classes=num_classes)
    parts = [cfg.model[part] for part in ('neck', 'head') if cfg.model.get(part)]
    if any('prior_prob' in part for part in parts):
        dataset = _build_without_pipeline(cfg.train_dataloader.dataset)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        known = [num_classes - len(info.get('gt_label_unknown', ())) for info in infos]
        counts = [len(info['gt_label']) for info in infos]
        found['prior_prob'] = float(np.mean(counts)) / max(float(np.mean(known)), 1.0)
    for part in parts:
        part.update({key: value for key, value in found.items() if key in part})


def hold_out(cfg: Config, part: float) -> None:
    """Train on a part of the training images and test on the rest of them; changes ``cfg``.

    For choosing settings: the test set is not looked at. The parts depend on the
    number of images only, so that all methods and seeds have the same. ``DegradedData``
    draws its share of images from those trained on, and leaves the labels of the others right.
    """
    dataset_cfg = cfg.train_dataloader.dataset
    if dataset_cfg.get('indices') is not None or 'pipeline' not in dataset_cfg:
        raise ValueError(
            'images can be held out (--train-part, --tune) of a training set of its own images, '
            f'got {dataset_cfg.type} with indices or inside a wrapper'
        )
    whole = whole_data(dataset_cfg)
    num_images = len(_build_without_pipeline(whole))
    count = round(part * num_images)
    if not 0 < count < num_images:
        raise ValueError(f'--train-part {part} of {num_images} images leaves one part empty')
    order = np.random.default_rng(0).permutation(num_images)
    kept, held_out = (sorted(indices.tolist()) for indices in (order[:count], order[count:]))
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:  # not validated
            continue
        pipeline = pipeline_of(cfg, split)
        loader.dataset = copy.deepcopy(whole)
        loader.dataset.update(indices=held_out, pipeline=pipeline, test_mode=True)
    dataset_cfg.indices = kept


def whole_data(dataset_cfg: dict) -> ConfigDict:
    """A copy of a data set's config; ``DegradedData`` has all images there, and no wrong label."""
    right = dict(images=1.0, replaced=0.0) if dataset_cfg['type'] == 'DegradedData' else {}
    return ConfigDict(dataset_cfg, **right)


def classes_by_images(cfg: Config, bounds: list[int]) -> dict[str, list[str]]:
    """The classes in groups by their number of training images.

    Args:
        cfg (Config): Of a run.
        bounds (list[int]): Where a group begins, rising: [20, 100] makes three.

    Returns:
        dict[str, list[str]]: By what to call it, '0-19', '20-99' and '100-or-more'; a group
        without a class is left out.
    """
    counts, groups = count_positives(cfg.train_dataloader), {}
    for low, high in pairwise([0, *bounds, np.inf]):
        group = [name for name, count in counts.items() if low <= count < high]
        if group:
            groups[f'{low}-{high - 1}' if high < np.inf else f'{low}-or-more'] = group
    return groups


def count_positives(dataloader: Config) -> dict[str, int]:
    """How many images of a loader have each class, by its name, in the order of the classes."""
    dataset = _build_without_pipeline(dataloader.dataset)
    labels = [x for i in range(len(dataset)) for x in dataset.get_data_info(i)['gt_label']]
    names = dataset.metainfo['classes']
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist()))


def check_tested_alike(recipes: dict[str, Config], classes: list[str] | None = None) -> None:
    """Have all test sets the same labels, image by image? Equal configs of them are not read.

    Raises:
        ValueError: If one differs from the first.
    """
    first, labels = next(iter(recipes)), {}
    loaders = {name: cfg.test_dataloader for name, cfg in recipes.items()}
    texts = {name: _text_without_pipeline(loader.dataset) for name, loader in loaders.items()}
    for name, text in texts.items() if len({*texts.values()}) > 1 else ():
        if text not in labels:
            labels[text] = _read_labels(loaders[name], classes)
        if labels[text] != labels[texts[first]]:
            raise ValueError(
                f'{name} has other test images, labels or classes than {first}: give all configs '
                'the same data (--data)'
            )


def recipe_text(cfg: Config) -> str:
    """A config file with all entries of ``cfg``; equal configs have equal texts.

    Raises:
        ValueError: If an entry is no plain value.
    """
    values = dict(sorted(cfg.to_dict().items()))
    return write_literals(values, cfg.filename or 'the config', sort_dicts=True)


def entry_of(cfg: Config, key: str) -> object:
    """An entry by its dotted key, None if there is none."""
    part: object = cfg.to_dict()
    for name in key.split('.'):
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _text_without_pipeline(dataset: Config) -> str:
    """The config of a data set, but for its pipelines."""
    without = change_inner(dataset, lambda one: dict(pipeline=None))
    return recipe_text(Config(dict(dataset=without)))


def _read_labels(loader: Config, classes: list[str] | None) -> tuple[list[str], list[list[int]]]:
    """The names of classes, and the positive ones of each image, by their places among these."""
    dataset = _build_without_pipeline(loader.dataset)
    names = list(dataset.metainfo.get('classes') or ())
    chosen = class_indices(classes, names)
    chosen = range(len(names)) if chosen is None else chosen
    places = {label: place for place, label in enumerate(chosen)}
    infos = map(dataset.get_data_info, range(len(dataset)))
    found = [{places.get(label) for label in info.get('gt_label', ())} for info in infos]
    return [names[label] for label in chosen], [sorted(one - {None}) for one in found]


def _build_without_pipeline(dataset_cfg: Config):
    """A data set for its labels alone."""
    no_pipeline = dict(pipeline=[]) if 'pipeline' in dataset_cfg else {}
    return DATASETS.build({**dataset_cfg, **no_pipeline})
