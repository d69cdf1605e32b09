"""The hooks and schedules of a config."""

import sys
from collections.abc import Mapping

from mmpretrain.registry import HOOKS

from mlic.registries import find_registered


def hooks_of(cfg: Mapping) -> list[Mapping]:
    """The hooks of a config."""
    default = (cfg.get('default_hooks') or {}).values()
    return [hook for hook in (*default, *(cfg.get('custom_hooks') or ())) if hook]


def hook_class(hook: Mapping) -> type | None:
    """The class of a hook's config; None if there is none of that name. Nothing is imported."""
    found = hook.get('type')
    if isinstance(found, str):
        module, _, name = found.rpartition('.')
        imported = vars(sys.modules[module]) if module in sys.modules else {}
        found = find_registered(HOOKS, name) or imported.get(name)
    return found if isinstance(found, type) else None


def is_hook(hook: Mapping, kind: type | tuple[type, ...]) -> bool:
    """Whether a hook's config is of a kind, or of one that derives from it."""
    found = hook_class(hook)
    return found is not None and issubclass(found, kind)


def schedules_of(cfg: Mapping) -> list[Mapping]:
    """The schedules of a config, of which one may stand without a list."""
    schedules = cfg.get('param_scheduler') or []
    return [schedules] if isinstance(schedules, Mapping) else list(schedules)
