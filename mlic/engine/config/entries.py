"""Which entry of a config made a library fail, where its error does not say so."""

import re
import traceback
from collections.abc import Collection, Iterator, Mapping

from mmengine.config import Config
from torch import OutOfMemoryError

from mlic.installation import is_ours
from mlic.names import first_names, reason_of, short
from mlic.registries import type_name

from .errors import module_of
from .options import READ, items_of
from .values import misfits

# what values of another kind raise
OF_VALUES = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
OF_MACHINE = (ImportError, MemoryError, OSError, OutOfMemoryError)  # the last of a GPU
BUILDS = 'mmengine.registry.build_functions'
LOOP = ('run_epoch', 'run_iter')


def describe_entry(error: Exception, strangers: Collection[str]) -> str | None:
    """Which entry of a tool's config failed, in one line; None if nobody knows.

    Args:
        error (Exception): Raised while a tool had its config as ``cfg``.
        strangers (Collection[str]): Packages that are no libraries: what those of others raise,
            a user's own method in ``projects`` included, keeps its traceback.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if frames[-1].f_code.co_name == 'call_hook' and error.__context__:  # which raises anew
        error = error.__context__
        frames += [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    while frames[-1].f_code.co_name == '__getattr__':  # whoever misspelt the name has failed
        frames.pop()
    configs = (frame.f_locals.get('cfg') for frame in frames)
    cfg = next((one.to_dict() for one in configs if isinstance(one, Config)), None)
    if cfg is None or isinstance(error, OF_MACHINE):
        return None
    modules = [module_of(frame) for frame in frames]
    others = [
        index
        for index, module in enumerate(modules)
        if module.partition('.')[0] in strangers and not is_ours(module)
    ]
    frames = frames[others[-1] + 1 :] if others else frames
    builds = [frame.f_locals.get('cfg') for frame in frames if module_of(frame) == BUILDS]
    entries = [entry for entry in builds if isinstance(entry, Mapping)]
    classes = [type(frame.f_locals['self']) for frame in frames if 'self' in frame.f_locals]
    reason = reason_of(error)
    says = f'{type(error).__name__}: {reason}'
    line = traceback.extract_tb(error.__traceback__)[-1].line or ''
    is_said = str(error) and (isinstance(error, AssertionError) or line.startswith('raise'))
    is_of_values = isinstance(error, OF_VALUES) or type(error).__module__ == 'cv2'
    if is_of_values:
        involved = {base.__name__ for one in classes for base in one.__mro__}
        involved |= {frame.f_code.co_name for frame in frames}
        involved |= {type_name(entry) for entry in entries}
        no_number = re.compile('=None: .* takes a number there$')
        of_none = frames and 'NoneType' in reason  # which others may read of what it was given to
        for misfit in misfits(cfg):
            if misfit.given_to in involved or (of_none and no_number.search(misfit.line)):
                return f'{misfit.line} ({says})'
    trains = any(
        frame.f_code.co_name in LOOP and 'mmengine' in module_of(frame) for frame in frames
    )
    # with other images, or after a while, it is hardly the config's
    is_of_use = not trains and frames and not is_ours(module_of(frames[-1]))
    for frame in reversed(frames):
        entry, kind = frame.f_locals.get('cfg'), type(frame.f_locals.get('self')).__name__
        if module_of(frame) == BUILDS and isinstance(entry, Mapping):
            alike = [(found, place) for place, found in _entries(cfg) if _is_part_of(entry, found)]
            places = [place for found, place in sorted(alike, key=lambda one: one[0] != entry)]
            shown = f'{"".join(places[:1])}={short(dict(entry))}'.lstrip('=')
            if 'type' not in entry:
                return f'{shown} has no type'
            return f'{reason} (in {shown})' if is_said else f'{shown} cannot be built: {says}'
        places = [place for place, one in _entries(cfg) if type_name(one) == kind]
        if places and is_of_use and kind not in map(type_name, entries) and is_of_values:
            shown = f'{first_names(places, 2)} ({kind})'
            return f'{reason} (in {shown})' if is_said else f'{shown}: {says}'
    return None


def _is_part_of(entry: Mapping, found: Mapping) -> bool:
    """Whether an entry is one of the config, of which a builder may have taken something off."""
    return bool(entry) and all(key in found and found[key] == entry[key] for key in entry)


def _entries(value: object, place: str = '') -> Iterator[tuple[str, Mapping]]:
    """The dicts that a config has for what is read of it, with their places."""
    if isinstance(value, Mapping) and place:
        yield place, value
    for key, inner in items_of(value):
        if place or key in READ:
            yield from _entries(inner, f'{place}.{key}'.lstrip('.'))
