"""A model for prediction from a checkpoint, by the config inside it or by a config file.

Neither a checkpoint's weights nor its config are ever executed; a config file is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import DATASETS, MODELS

from mlic.engine.checkpoints.matching import fitting_weights


def load_predictor(
    checkpoint: str | Path, config: str | Path | Config | None = None, device: str = 'cpu'
) -> BaseModel:
    """Build a model without what only training needs, and load its weights.

    Args:
        checkpoint (str | Path): File or address.
        config (str | Path | Config, optional): Config file, which is executed. Defaults to None:
            the config that the checkpoint holds, which is not.
        device (str): Defaults to 'cpu'.

    Returns:
        BaseModel: In evaluation mode. ``_config`` is its config, ``_dataset_meta['classes']`` the
        names of its classes: mmpretrain's inferencers look there.

    Raises:
        ValueError: If there is no config, or weights and config do not fit.
    """
    content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    meta = content.get('meta', {})
    if config is None:
        config = read_stored_config(meta, checkpoint)
    elif not isinstance(config, Config):
        config = Config.fromfile(config)
    init_default_scope('mmpretrain')
    cfg = for_prediction(config)
    model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
    weights = content.get('state_dict', content)
    weights = fitting_weights(model.state_dict(), weights, checkpoint)
    model.load_state_dict(weights, strict=False)  # but for counters of batch norm, all is there
    model._config = cfg
    model._metainfo = None
    model._dataset_meta = dict(classes=class_names(cfg, meta, checkpoint))
    return model.to(device).eval()


def read_stored_config(meta: Mapping, source: str | Path) -> Config:
    """The config in a checkpoint's ``meta``, read as data.

    mmengine writes it as Python, and would execute it. Here it may hold nothing but literals
    and ``dict(...)``; of its ``custom_imports``, ``mlic`` and packages of ``projects`` are
    imported.

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


def for_prediction(config: Config) -> Config:
    """A copy whose head has no contrastive loss: no projector, prototypes or memory bank."""
    cfg = config.copy()
    head = cfg.model.get('head')
    head_class = MODELS.get(head.type) if head else None
    if head_class is not None:
        for name in ('loss_sscl', 'loss_pscl'):
            if name in inspect.signature(head_class).parameters:
                head[name] = None
    return cfg


def class_names(cfg: Config, meta: Mapping, source: str | Path) -> list[str]:
    """Of the checkpoint's data, else of the config's test data, else numbers with a notice.

    Raises:
        ValueError: If there are not as many as the head has classes.
    """
    number = cfg.model.head.get('num_classes')
    names = (meta.get('dataset_meta') or {}).get('classes')
    if not names and 'test_dataloader' in cfg:
        dataset_class = DATASETS.get(cfg.test_dataloader.dataset.type)
        names = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not names:
        print_log(f'{source} names no classes: they are numbers from 0', logger='current')
        names = range(number)
    if number is not None and len(names) != number:
        raise ValueError(f'{source} names {len(names)} classes, the model has {number}')
    return [str(name) for name in names]
