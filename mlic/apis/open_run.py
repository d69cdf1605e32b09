"""Open a run: a config, a checkpoint or work directory, and the model that the two make.

Neither a checkpoint's weights nor its config are ever executed; a config file is.
"""

import ast
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import DATASETS, MODELS

from mlic.engine.checkpoints.matching import check_fit, class_names_of
from mlic.engine.checkpoints.search import FoundCheckpoint, find_checkpoint
from mlic.files import read_json
from mlic.models.training_parts import for_prediction


class OpenRun(NamedTuple):
    """A trained model with what belongs to it.

    Args:
        model (BaseModel): In evaluation mode. ``_config`` is ``config``, and
            ``_dataset_meta['classes']`` are ``classes``: mmpretrain's inferencers look there.
        config (Config): With the model as it was built.
        checkpoint (FoundCheckpoint): Its path, stage, epoch and score; ``str()`` has them all.
        meta (Mapping): The checkpoint's ``meta``.
        classes (list[str]): Names of the classes, in the order of the scores.
    """

    model: BaseModel
    config: Config
    checkpoint: FoundCheckpoint
    meta: Mapping
    classes: list[str]


def open_run(
    checkpoint: str | Path,
    config: str | Path | Config | None = None,
    *,
    stage: str = 'best',
    cfg_options: Mapping | None = None,
    split: str = 'test',
    training_parts: bool = False,
    device: str | None = None,
) -> OpenRun:
    """Build a model and load its weights.

    Args:
        checkpoint (str | Path): File, address or work directory.
        config (str | Path | Config, optional): Config file, which is executed. Defaults to None:
            the config that the checkpoint holds, which is not.
        stage (str): Of a work directory, see :func:`find_checkpoint`. Defaults to 'best'.
        cfg_options (Mapping, optional): Config entries to replace. Defaults to None.
        split (str): Of a given config, the data whose classes are compared. Defaults to 'test'.
        training_parts (bool): Keep what only training needs, such as projectors. Defaults to
            False.
        device (str, optional): Defaults to None: the GPU if there is one.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If there is no config, or weights or classes and their order do not fit.
    """
    found = find_checkpoint(checkpoint, stage)
    content = CheckpointLoader.load_checkpoint(found.path, map_location='cpu')
    meta = content.get('meta') or {}
    cfg = read_stored_config(meta, found.path) if config is None else config
    cfg = cfg.copy() if isinstance(cfg, Config) else Config.fromfile(cfg)
    if cfg_options:
        cfg.merge_from_dict(dict(cfg_options))
    # a scope is a package that the registries import: never one that a checkpoint names
    given = {} if config is None else cfg
    init_default_scope(given.get('default_scope', 'mmpretrain'))
    loader = given.get(f'{split}_dataloader')
    classes = loader and data_classes(loader.dataset)
    if not training_parts:
        cfg.model = for_prediction(cfg.model)
    model = build_model(cfg)
    # but for parts of training and counters of batch norm, all is there
    model.load_state_dict(check_fit(content, model, classes, found.path), strict=False)
    names = class_names(cfg, class_names_of(content) or classes, found.path)
    model._config, model._metainfo, model._dataset_meta = cfg, None, dict(classes=names)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return OpenRun(model.to(device).eval(), cfg, found, meta, names)


def build_model(cfg: Config) -> BaseModel:
    """The model of a config with its preprocessor, its weights drawn."""
    return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})


def data_classes(dataset: ConfigDict) -> Sequence[str] | None:
    """The names of the classes of a data set in their order; no image and no label is read.

    ``dataset`` is of a config that may be executed. None if only files tell that are not there.
    """
    while 'type' in dataset and ('dataset' in dataset or 'datasets' in dataset):
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    try:
        built = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True})
        names = built.metainfo.get('classes')
        if not names and str(built.ann_file).endswith('.json'):
            names = read_json(built.ann_file)['metainfo']['classes']
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
    return names


def read_stored_config(meta: Mapping, source: str | Path) -> Config:
    """The config in a checkpoint's ``meta``, read as data.

    mmengine writes it as Python, and would execute it. Here it may hold nothing but literals
    and ``dict(...)``; of its ``custom_imports``, ``mlic`` and what is in ``projects`` is imported.

    Raises:
        ValueError: If there is none, or it holds anything else.
    """
    text = meta.get('cfg')
    if not isinstance(text, str):
        raise ValueError(f'{source} holds no config: give its config file')
    try:
        cfg = Config(parse_literals(text))
    except (ValueError, SyntaxError, RecursionError, TypeError) as error:
        raise ValueError(
            f'the config in {source} is more than plain values ({error}), and is not executed: '
            'give its config file'
        ) from error
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    for name in [imports] if isinstance(imports, str) else imports:
        if name != 'mlic' and not str(name).startswith('projects.'):
            raise ValueError(f'the config in {source} imports {name!r}: give its config file')
        importlib.import_module(name)
    return cfg


def parse_literals(text: str) -> dict:
    """The values of a text of assignments; ValueError if one is not a literal or a ``dict``."""
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise ValueError(f'line {statement.lineno} is not an assignment')
        (target,) = statement.targets
        if not isinstance(target, ast.Name):
            raise ValueError(f'line {statement.lineno} does not assign to a name')
        values[target.id] = ast.literal_eval(_DictCalls().visit(statement.value))
    _check_types(values)
    return values


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` becomes ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        keys = [keyword.arg for keyword in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or None in keys:
            raise ValueError(f'line {node.lineno} calls something')
        values = [self.visit(keyword.value) for keyword in node.keywords]
        if not node.args:
            return ast.Dict([ast.Constant(key) for key in keys], values)
        if len(node.args) > 1 or keys or not isinstance(node.args[0], ast.Dict):
            raise ValueError(f'line {node.lineno} calls dict with a value')
        return self.visit(node.args[0])


def _check_types(value: object) -> None:
    """Refuse a type that is a path: a registry would import it, and call it."""
    if isinstance(value, dict):
        kind = value.get('type')
        if isinstance(kind, str) and not kind.isidentifier():
            raise ValueError(f'type {kind!r} is not the name of a registered class')
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_types(item)


def class_names(cfg: Config, names: Sequence[str] | None, source: str | Path) -> list[str]:
    """The known names, else those of the type of the config's data, else numbers with a notice.

    Raises:
        ValueError: If there are not as many as the head has classes.
    """
    number = (cfg.model.get('head') or {}).get('num_classes')
    if not names and 'test_dataloader' in cfg:
        dataset_class = DATASETS.get(cfg.test_dataloader.dataset.type)
        names = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not names:
        print_log(f'{source} names no classes: they are numbers from 0', logger='current')
        names = range(number)
    if number is not None and len(names) != number:
        raise ValueError(f'{source} names {len(names)} classes, the model has {number}')
    return [str(name) for name in names]
