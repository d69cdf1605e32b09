"""Registered classes by their names."""

import os
from collections.abc import Mapping
from pathlib import Path

import mmengine.registry
import mmpretrain.registry
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope

SCOPE = 'mmpretrain'
REGISTRIES = {
    name: registry
    for module in (mmengine.registry, mmpretrain.registry)  # mmpretrain's replace mmengine's
    for name, registry in vars(module).items()
    if isinstance(registry, Registry) and not name.startswith('MMENGINE_')
}
# other arguments than ``type`` that are the name of a registered class, and the registry; those of
# models and transforms are many
NAMES = dict(
    ema_type='MODELS',
    constructor='OPTIM_WRAPPER_CONSTRUCTORS',
    runner_type='RUNNERS',
)


def find_registered(registry: Registry, name: str) -> object | None:
    """What a registry or one of its parents has under this very name, or None.

    ``Registry.get`` imports a module of that name where there is no such class, from whatever
    folder is on the path. Here nothing is imported but the places that the registry lists itself.
    """
    registry.import_from_location()
    while registry is not None:
        if name in registry.module_dict:
            return registry.module_dict[name]
        registry = registry.parent
    return None


def registered_name(kind: object) -> str | None:
    """The name that stands for a class in a config, or None if it is registered under none.

    Args:
        kind (object): The class, or function; or its dotted name, such as
            'mlic.engine.ForeachEMAHook', of which nothing is imported.
    """
    dotted = isinstance(kind, str)
    module, _, last = kind.rpartition('.') if dotted else ('', '', getattr(kind, '__name__', ''))
    for registry in REGISTRIES.values():
        found = find_registered(registry, last)
        if dotted and module and f'{getattr(found, "__module__", "")}.'.startswith(f'{module}.'):
            return last
        if not dotted and found is not None and found is kind:
            return last
    for registry in () if dotted else REGISTRIES.values():  # torch's BatchNorm2d, which is 'BN'
        for one in filter(None, (registry, registry.parent)):
            for name, found in one.module_dict.items():
                if found is kind and find_registered(registry, name) is kind:
                    return name
    return None


def name_classes(value: object) -> bool:
    """Put names for the registered classes that dicts have as ``type``, at any depth.

    What is not registered stays as it is: mmengine builds it, too.

    Returns:
        bool: Whether there were any.
    """
    named = False
    if isinstance(value, dict):
        for key in ('type', *NAMES):
            kind = value.get(key)
            if '.' in kind if isinstance(kind, str) else callable(kind):
                name = registered_name(kind)
                if name:
                    value[key], named = name, True
        for item in dict.values(value):  # of a lazy config, it imports nothing
            named |= name_classes(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            named |= name_classes(item)
    return named


def type_name(entry: Mapping) -> str:
    """The name of the class of a config's entry, without its scope; '' of one without a type."""
    kind = entry.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def dotted_name(kind: object) -> str:
    """A class that has no other name, as text; names stay."""
    return kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__qualname__}'


def load_config(path: str | Path) -> Config:
    """The config of a file, which is executed, with names for its classes.

    A config may give a class as ``type=ImageClassifier``, as mmengine's "pure Python" configs do.
    Checkpoints hold names, and so does all that looks at a config after this.
    """
    return with_names(Config.fromfile(os.fspath(path)))


def set_scope(cfg: Config | dict) -> None:
    """Look names up in the registries of a config's ``default_scope``, set here if it has none."""
    cfg['default_scope'] = cfg.get('default_scope') or SCOPE
    init_default_scope(cfg['default_scope'])


def with_names(cfg: Config) -> Config:
    """The config, changed: see :func:`load_config`. One of another scope stays as it is."""
    if (cfg.get('default_scope') or SCOPE) == SCOPE:
        named = False
        for key in cfg.to_dict():  # which leaves out imports of a lazy config
            if callable(cfg[key]):  # an import of another
                cfg.pop(key)
            else:
                named |= name_classes({key: cfg[key]})
        if named:
            cfg.default_scope = SCOPE
    return cfg
