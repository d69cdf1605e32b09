"""The config inside a checkpoint: data of somebody else, which may only choose among what is here.

It is checked before mmengine sees it, because mmengine imports: ``<scope>.registry`` of each
``_scope_``, modules by the names that it does not know, ``custom_imports``, storage backends.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mlic.engine.mmengine_internals import registered_names_only
from mlic.installation import is_method_here
from mlic.literals import parse_literals
from mlic.registries import NAMES, REGISTRIES, SCOPE, find_registered, name_classes

# the registry in which a type is looked up: below these keys, at any depth
PLACES = dict(
    **dict.fromkeys(('model', 'data_preprocessor', 'tta_model', 'loss'), 'MODELS'),
    **dict.fromkeys(('augments', 'batch_augments'), 'BATCH_AUGMENTS'),
    init_cfg='WEIGHT_INITIALIZERS',
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), 'DATASETS'),
    **dict.fromkeys(('pipeline', 'train_pipeline', 'test_pipeline', 'tta_pipeline'), 'TRANSFORMS'),
    **dict.fromkeys(('sampler', 'batch_sampler'), 'DATA_SAMPLERS'),
    **dict.fromkeys(('collate_fn', 'worker_init_fn'), 'FUNCTIONS'),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), 'METRICS'),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), 'LOOPS'),
    optim_wrapper='OPTIM_WRAPPERS',
    optimizer='OPTIMIZERS',
    param_scheduler='PARAM_SCHEDULERS',
    **dict.fromkeys(('default_hooks', 'custom_hooks'), 'HOOKS'),
    visualizer='VISUALIZERS',
    vis_backends='VISBACKENDS',
    log_processor='LOG_PROCESSORS',
    model_wrapper_cfg='MODEL_WRAPPERS',
)
# what is built of a stored config when it predicts: these fetch nothing and open no file
BUILT = ('MODELS', 'BATCH_AUGMENTS', 'TRANSFORMS')
PACKAGES = (
    *('mlic', 'projects', 'mmengine', 'torch.nn', 'torch.optim'),
    *('mmcv.cnn.bricks', 'mmcv.transforms'),
    *('mmpretrain.models.backbones', 'mmpretrain.models.classifiers.image'),
    *('mmpretrain.models.heads', 'mmpretrain.models.losses', 'mmpretrain.models.necks'),
    *('mmpretrain.models.tta', 'mmpretrain.models.utils'),
    *('mmpretrain.datasets', 'mmpretrain.engine'),
    *('mmpretrain.evaluation', 'mmpretrain.visualization'),
)
# theirs that fetch a file, unpickle one, or call what an argument names
REFUSED = {
    *('TIMMBackbone', 'ArcFaceClsHead', 'SwAVHook'),
    *('Albumentations', 'Albu', 'AlbuKeypoint'),
    *('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST'),
}


def read_stored_config(
    meta: Mapping, source: str | Path, allow_imports: Sequence[str] = ()
) -> Config:
    """The config in a checkpoint's ``meta``, read as data and checked.

    mmengine writes it as Python, and would execute it. Here it may hold nothing but literals and
    ``dict(...)``, and name only classes that are registered: by this installation, or by the
    packages of ``custom_imports``, which are ``mlic``, the methods in ``projects`` that belong to
    it, and what ``allow_imports`` names. Nothing that it names makes a network request when it is
    built.

    Args:
        meta (Mapping): Of the checkpoint.
        source (str | Path): The checkpoint, for messages.
        allow_imports (Sequence[str]): Packages that are trusted besides those of this
            installation, such as 'mypackage'. Defaults to none.

    Raises:
        ValueError: If there is no config, or one that is refused; one line.
        ImportError: If an allowed package cannot be imported.
    """
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f'{source} holds no config: give its config file')
    try:
        values = parse_literals(text)
    except ValueError as error:
        raise ValueError(
            f'the config in {source} is more than plain values ({error}), and is not executed: '
            'give its config file'
        ) from error
    try:
        _import_packages(values.get('custom_imports'), allow_imports)
        name_classes(values)
        _check(values, None, (*PACKAGES, *allow_imports))
        _check_shape(values)
        return Config(values)
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        # mmengine refuses a few keys, as KeyError
        reason = error.args[0] if error.args else error
        raise ValueError(f'the config in {source} {reason}: give its config file') from error


@contextmanager
def refuse_stored(source: str | Path) -> Iterator[None]:
    """Build from a checked config: no name is imported, and what it raises becomes one line."""
    try:
        with registered_names_only():
            yield
    except ImportError:  # says what to install
        raise
    except Exception as error:  # its arguments are anybody's
        reason = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
        raise ValueError(
            f'the config in {source} cannot be built ({reason}): give its config file'
        ) from error


def _import_packages(custom_imports: object, allowed: Sequence[str]) -> None:
    """Import what ``custom_imports`` names, if all of it may be."""
    imports = custom_imports.get('imports') if isinstance(custom_imports, dict) else custom_imports
    imports = [imports] if isinstance(imports, str) else imports or []
    if not isinstance(imports, (list, tuple)):
        raise ValueError(f'has custom_imports that are not names: {imports!r:.99}')
    for name in imports:
        if not isinstance(name, str) or not all(map(str.isidentifier, name.split('.'))):
            raise ValueError(f'imports {name!r:.99}, which is not the name of a package')
        if not (_is_below(name, ('mlic', *allowed)) or is_method_here(name)):
            raise ValueError(
                f'imports {name!r:.99}, not a package of this installation (if you trust it, add '
                f'--allow-import {name:.99}, in Python allow_imports=[{name!r:.99}])'
            )
    for name in imports:
        importlib.import_module(name)


def _is_below(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages, or in one."""
    return any(f'{module}.'.startswith(f'{package}.') for package in packages)


def _check(value: object, place: str | None, packages: Sequence[str]) -> None:
    """Refuse what mmengine would import, and what fetches something; ``place`` is a registry."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ('_scope_', 'default_scope') and item not in (SCOPE, None):
                raise ValueError(f'has {key}={item!r:.99}, and only {SCOPE!r} is known')
            if key == '_base_':
                raise ValueError(f'has {key}, which a config file executes')
            if key in ('backend_args', 'file_client_args') and not _is_local(item):
                raise ValueError(f'has {key}={item!r:.99}, which is not a file of this machine')
            if key == 'type' or (key in NAMES and isinstance(item, str)):
                _check_class(item, NAMES.get(key, place), packages)
            elif key == 'checkpoint_path' and item:
                raise ValueError(f'has {key}={item!r:.99}, while its weights are in the checkpoint')
            else:
                if key == 'default_hooks' and isinstance(item, dict):
                    item = [*item.values()]  # its keys are names, such as param_scheduler
                _check(item, PLACES.get(key, place), packages)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, place, packages)
    elif isinstance(value, str) and place in BUILT and ':' in value:
        raise ValueError(f'names {value!r:.99}, which may be an address')


def _is_local(args: object) -> bool:
    """Whether a storage backend reads local files; others import modules, also from a path."""
    if args is None:
        return True
    return isinstance(args, dict) and set(args) <= {'backend'} and args.get('backend') == 'local'


def _check_class(name: object, place: str | None, packages: Sequence[str]) -> None:
    """Refuse a type that is not registered there (anywhere, where the place is not known)."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f'has type {name!r:.99}, which is not the name of a registered class')
    places = REGISTRIES.values() if place is None else [REGISTRIES[place]]
    found = [item for item in (find_registered(registry, name) for registry in places) if item]
    if not found:
        where = f' in {place}' if place else ''
        raise ValueError(
            f'has type {name!r:.99}, which is not the name of a registered class{where} (if a '
            'package that you trust has it, name it in custom_imports and with --allow-import)'
        )
    if name in REFUSED:
        raise ValueError(f'has type {name!r}, which may fetch a file or run what is in one')
    for item in found:
        module = getattr(item, '__module__', 'nowhere')
        if not _is_below(module, packages):
            raise ValueError(
                f'has type {name!r}, of {module}, and only some packages are trusted '
                '(--allow-import PACKAGE adds one)'
            )


def _check_shape(values: dict) -> None:
    """Refuse a config from which no model can be built."""
    for key in ('model', 'test_dataloader'):
        if not isinstance(values.get(key), dict) and (key == 'model' or values.get(key)):
            raise ValueError(f'has {"no" if key not in values else "a strange"} {key}')
    if 'type' not in values['model']:
        raise ValueError('has a model without type')
