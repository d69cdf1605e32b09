"""Open a run: a config, a checkpoint or work directory, and the model that the two make.

Neither a checkpoint's weights nor its config are ever executed; a config file is.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS

from mlic.datasets.wrappers import inner_configs
from mlic.engine.checkpoints.feature_runs import add_own_backbone
from mlic.engine.checkpoints.matching import check_fit, class_names_of
from mlic.engine.checkpoints.search import FoundCheckpoint, find_checkpoint
from mlic.engine.config.device import CHANNELS_LAST
from mlic.engine.config.options import merge_options
from mlic.evaluation.thresholds import ThresholdFile, stored_thresholds
from mlic.files import read_json
from mlic.models.training_parts import for_prediction, mixing_warnings
from mlic.registries import load_config, set_scope, with_names

from .folding import merge_adapters
from .stored_config import read_stored_config, refuse_stored


class OpenRun(NamedTuple):
    """A trained model with what belongs to it.

    Args:
        model (BaseModel): In evaluation mode. ``_config`` is ``config``, and
            ``_dataset_meta['classes']`` are ``classes``: mmpretrain's inferencers look there.
        config (Config): With the model as it was built.
        checkpoint (FoundCheckpoint): Its path, stage, epoch and score; ``str()`` has them all.
        meta (Mapping): The checkpoint's ``meta``.
        classes (list[str]): Names of the classes, in the order of the scores.
        thresholds (ThresholdFile, optional): Each class's own, of a published checkpoint.
    """

    model: BaseModel
    config: Config
    checkpoint: FoundCheckpoint
    meta: Mapping
    classes: list[str]
    thresholds: ThresholdFile | None


def open_run(
    checkpoint: str | Path,
    config: str | Path | Config | None = None,
    *,
    stage: str = 'best',
    cfg_options: Mapping | None = None,
    split: str = 'test',
    training_parts: bool = False,
    device: str | None = None,
    allow_imports: Sequence[str] = (),
) -> OpenRun:
    """Build a model and load its weights; the log has its ``mixing_warnings``.

    Args:
        checkpoint (str | Path): File, address or work directory.
        config (str | Path | Config, optional): Config file, which is executed. Defaults to None:
            the config that the checkpoint holds, see :func:`read_stored_config`.
        stage (str): Of a work directory, see :func:`find_checkpoint`. Defaults to 'best'.
        cfg_options (Mapping, optional): Config entries to replace. Defaults to None.
        split (str): Of a given config, the data whose classes are compared. Defaults to 'test'.
        training_parts (bool): Keep what only training needs, such as projectors, and LoRA's updates
            apart from the weights. Defaults to False.
        device (str, optional): Defaults to None: the GPU if there is one.
        allow_imports (Sequence[str]): Packages that a stored config may import besides those of
            this installation. Defaults to none.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If there is no config, or a stored one that is refused or gives no model;
            nothing reads an option; or the weights, the classes and their order, or the
            checkpoint's thresholds do not fit.

    Example:
        >>> from mlic.apis import open_run
        >>> run = open_run('work_dirs/run')
        >>> run.classes[:2], run.model.training
        (['cat', 'dog'], False)
    """
    found = find_checkpoint(checkpoint, stage)
    content = CheckpointLoader.load_checkpoint(found.path, 'cpu', logger='silent')
    meta = content.get('meta') or {}
    stored = config is None
    cfg = read_stored_config(meta, found.path, allow_imports) if stored else config
    cfg = with_names(copy.deepcopy(cfg)) if isinstance(cfg, Config) else load_config(cfg)
    merge_options(cfg, cfg_options)
    # a scope is a package that the registries import: never one that a checkpoint names
    given = {} if stored else cfg
    set_scope(given)
    loader = given.get(f'{split}_dataloader')
    classes = loader and data_classes(loader.dataset)
    if not training_parts and cfg.get('model'):
        cfg.model = for_prediction(cfg.model)
    with refuse_stored(found.path) if stored else nullcontext():
        model = build_model(cfg)
        if stored:  # what others build from its config has then been built with that guard, too
            test = cfg.get('test_dataloader') or {}
            for one in inner_configs(test.get('dataset', {})):
                for transform in one.get('pipeline', ()):
                    TRANSFORMS.build(transform)
    if not stored:  # only a file that was given may name weights
        content = add_own_backbone(content, model, cfg.model)
    # but for parts of training and counters of batch norm, all is there
    model.load_state_dict(check_fit(content, model, classes, found.path), strict=False)
    if not training_parts:
        merge_adapters(model, cfg.model)
    names = class_names(cfg, class_names_of(content) or classes, found.path)
    thresholds = stored_thresholds(meta.get('thresholds'), names, found.path)
    for line in mixing_warnings(model):
        print_log(line, logger='current', level=logging.WARNING)
    model._config, model._dataset_meta = cfg, dict(classes=names)
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if device.type == 'cpu' and cfg.model.backbone.get('type') in CHANNELS_LAST['cpu']:
        model.to(memory_format=torch.channels_last)
    return OpenRun(model.to(device).eval(), cfg, found, meta, names, thresholds)


def build_model(cfg: Config) -> BaseModel:
    """The model of a config with its preprocessor, its weights drawn."""
    if not cfg.get('model'):
        raise ValueError('the config has no model')
    return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})


def data_classes(dataset: ConfigDict) -> Sequence[str] | None:
    """The names of the classes of a data set in their order; no image and no label is read.

    ``dataset`` is of a config that may be executed. None if only files that are not there say so.
    """
    dataset = inner_configs(dataset)[0]
    try:
        built = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True})
        names = built.metainfo.get('classes')
        if not names and str(built.ann_file).endswith('.json'):
            names = read_json(built.ann_file)['metainfo']['classes']
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
    return names


def class_names(cfg: Config, names: Sequence[str] | None, source: str | Path) -> list[str]:
    """The known names, else those of the type of the config's data, else numbers with a notice.

    Raises:
        ValueError: If there are not as many as the head has classes.
    """
    head = cfg.model.get('head')
    number = head.get('num_classes') if isinstance(head, dict) else None
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if not names and isinstance(dataset, dict) and 'type' in dataset:
        dataset_class = DATASETS.get(inner_configs(dataset)[0].type)
        names = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not names:
        print_log(f'{source} names no classes: they are numbers from 0', logger='current')
        names = range(number)
    if number is not None and len(names) != number:
        raise ValueError(f'{source} names {len(names)} classes, the model has {number}')
    return [str(name) for name in names]
