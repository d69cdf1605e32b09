"""Registered classes by their names."""

from mmengine.registry import Registry


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
