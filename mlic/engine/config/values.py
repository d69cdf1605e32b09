"""Values in a config of another kind than what they are given to takes, such as text for a number.

What is taken is what annotations say; where there is none, a number's default says a little.
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from types import UnionType
from typing import NamedTuple, Union, get_args, get_origin, get_type_hints

from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed
from mmengine.utils.dl_utils import set_multi_processing
from mmpretrain.engine.hooks import SwitchRecipeHook
from torch import Tensor
from torch.utils.data import DataLoader

from mlic.installation import is_ours
from mlic.names import short
from mlic.registries import REGISTRIES, find_registered

from .options import READ, items_of
from .sections import hooks_of, is_hook

# whose annotations are read, and ours; those of others may be anything
TRUSTED = {'mmcv', 'mmengine', 'mmpretrain', 'torch', 'torchvision'}
KINDS = {
    'None': type(None),
    'text': str,
    'a dict': Mapping,
    'a list': (list, tuple),
    'a number': (int, float),
    'True or False': int,
}
# what an annotation takes
TAKEN = {
    type(None): {'None'},
    str: {'text'},
    dict: {'a dict'},
    list: {'a list'},
    tuple: {'a list'},
    Iterable: {'a list', 'text'},
    Sequence: {'a list', 'text'},
    bool: {'True or False'},
    **dict.fromkeys((int, float, Tensor), {'a number'}),
}
# what is often taken, too: a list of parts, or a name or the thing itself
TOO = {'a dict': {'a list'}, 'text': {'a dict', 'a number'}}
# classes of what a dict is made into
BUILT = ('mmengine.', 'torch.nn.', 'torch.optim.', 'torch.utils.data.')
RUN = 'a run'
# what dicts without a type are given to, by their places
GIVEN_TO = {
    '': Runner,
    'env_cfg.mp_cfg': set_multi_processing,
    'env_cfg.dist_cfg': init_dist,
    'randomness': set_random_seed,
    'train_cfg': EpochBasedTrainLoop,
    **{f'{split}_dataloader': DataLoader for split in ('train', 'val', 'test')},
}
# whose own annotations name what is not imported, and objects that a config has as dicts
LOADER_HINTS = dict(
    **dict.fromkeys(('sampler', 'batch_sampler', 'dataset'), dict | None),
    batch_size=int | None,
    num_workers=int,
)
# the least that some numbers of a run may be
LEAST = {
    'optim_wrapper.accumulative_counts': 1,
    'randomness.seed': 0,
    'train_cfg.val_interval': 1,
}


class Argument(NamedTuple):
    """What a class or function says of an argument.

    Attributes:
        hint (object): Its annotation; where there is none, the default's kind; None if unknown.
        is_trusted (bool): Whether no other kind is taken.
        too (set[str]): Kinds that may be taken, too.
    """

    hint: object
    is_trusted: bool
    too: frozenset[str] = frozenset()


class Misfit(NamedTuple):
    """A value of another kind.

    Attributes:
        line (str): Which, and what is taken there.
        given_to (str): The name of the class or function that takes it.
        is_certain (bool): Whether it is wrong even if nothing has failed.
    """

    line: str
    given_to: str
    is_certain: bool


def check_values(cfg: Config) -> None:
    """Refuse text where a library's class, or one of ours, takes numbers or a dict.

    Numbers of a run that would only fail in training are refused, too.

    Raises:
        ValueError: One line for the first.
    """
    for misfit in misfits(cfg.to_dict()):
        if misfit.is_certain:
            raise ValueError(misfit.line)
    for place, least in LEAST.items():
        name, _, key = place.partition('.')
        if key == 'val_interval' and cfg.get('val_cfg') is None:
            continue  # nothing is validated, and it is not read
        entry = cfg.get(name) or {}
        value = entry.get(key, least)
        if not all(_is_trusted(one) for one in _given_to(entry, name)):
            continue  # others may give it a meaning of their own
        too_small = isinstance(value, (int, float)) and value < least
        if too_small or (value is None and key != 'seed'):
            raise ValueError(f'{place}={value}: a run needs a number of at least {least} there')
    hooks = (hook for hook in hooks_of(cfg) if isinstance(hook, Mapping))
    switches = (hook for hook in hooks if is_hook(hook, SwitchRecipeHook))
    for _, recipe in (one for hook in switches for one in items_of(hook.get('schedule'))):
        epoch = recipe.get('action_epoch') if isinstance(recipe, Mapping) else None
        if isinstance(epoch, str):  # equal to no epoch: nothing would switch
            raise ValueError(f'action_epoch={epoch!r}: SwitchRecipeHook takes a number there')
    level = cfg.get('log_level', 'INFO')
    if not isinstance(level, int) and not isinstance(logging.getLevelName(str(level)), int):
        raise ValueError(
            f"log_level={level!r}: 'DEBUG', 'INFO', 'WARNING' or 'ERROR' is needed there"
        )


def misfits(value: object, place: str = '') -> Iterator[Misfit]:
    """Values of another kind, at any depth of what is read of a config.

    Lists and tuples are of one kind. Not all are wrong: an annotation may leave out what is taken.
    """
    if isinstance(value, Mapping):
        found = [dict(_of_arguments(value, place, one)) for one in _given_to(value, place)]
        shared = found[0] if found else {}  # some names are in several registries
        yield from (shared[key] for key in shared if all(key in others for others in found))
    for key, inner in items_of(value):
        if place or key in READ:
            yield from misfits(inner, f'{place}.{key}'.lstrip('.'))


def _given_to(entry: Mapping, place: str) -> list[Callable]:
    """What has an entry's values as arguments; none if nobody knows."""
    kind = entry.get('type') if place else None
    if not isinstance(kind, str):
        return [one for one in (kind or GIVEN_TO.get(place),) if callable(one)]
    name = kind.rpartition('.')[2]
    found = [find_registered(registry, name) for registry in REGISTRIES.values()]
    return list(dict.fromkeys(filter(None, found)))


def _is_trusted(called: Callable) -> bool:
    module = getattr(called, '__module__', None) or ''
    return module.partition('.')[0] in TRUSTED or is_ours(module)


@cache
def arguments_of(called: Callable) -> dict[str, Argument]:
    """The arguments of a function, or of a class and the bases that it passes others on to."""
    arguments: dict[str, Argument] = {}
    bases = [vars(one).get('__init__') for one in getattr(called, '__mro__', ())] or [called]
    is_trusted = True
    is_own = not _is_trusted(called)  # and may do something else with what it inherits
    for function in filter(inspect.isfunction, bases):
        is_trusted &= _is_trusted(function)
        hints = LOADER_HINTS if called is DataLoader else {}
        with suppress(AttributeError, NameError, TypeError):  # names that are not imported
            hints = hints or (get_type_hints(function) if is_trusted else {})
        parameters = inspect.signature(function).parameters.values()
        for one in parameters:
            hint = hints.get(one.name)
            argument = Argument(
                hint,
                is_trusted and not is_own,
                frozenset({'None'} if one.default is None else ()),
            )
            if hint is None and isinstance(one.default, (int, float)):
                argument = Argument(float, False, frozenset({'None', 'a list'}))
            elif hint is None and isinstance(one.default, (list, tuple)):
                argument = Argument(list, False, frozenset({'None', 'a dict', 'text'}))
            arguments.setdefault(one.name, argument)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return arguments


def _of_arguments(entry: Mapping, place: str, called: Callable) -> Iterator[tuple[str, Misfit]]:
    """The misfits among an entry's values, by their places."""
    name = RUN if called is Runner else getattr(called, '__name__', 'what is built')
    arguments = arguments_of(called)
    for key, value in entry.items():
        if key in arguments:
            yield from _of_value(value, f'{place}.{key}'.lstrip('.'), name, arguments[key])


def _of_value(
    value: object, place: str, name: str, argument: Argument
) -> Iterator[tuple[str, Misfit]]:
    """The misfit of a value, or of those that are inside."""
    taken = _taken(argument.hint)
    given = {kind for kind, types in KINDS.items() if isinstance(value, types)}
    too = set(argument.too).union(*(TOO.get(kind, ()) for kind in taken or ()))
    if taken and given and not given & (taken if name == RUN else taken | too):
        # some take text in place of a flag, or None
        wrong = taken != {'True or False'} or value in ('True', 'False')
        number = 'a number' in given and taken <= {'a dict', 'None'}
        of_run = name == RUN and 'a dict' in taken
        certain = number or of_run or ('text' in given and wrong)
        is_certain = argument.is_trusted and certain and value is not None
        wanted = ' or '.join(sorted(taken - {'None'}))
        line = f'{place}={short(value)}: {name} takes {wanted} there'
        yield place, Misfit(line, name, is_certain)
    for key, inner in items_of(value):
        hint = _hint_inside(argument.hint, value)
        yield from _of_value(inner, f'{place}.{key}', name, argument._replace(hint=hint))


def _parts(hint: object) -> list[object]:
    """What a union is of, or a tuple of annotations; any other alone."""
    if get_origin(hint) in (Union, UnionType):
        hint = get_args(hint)
    return [part for one in hint for part in _parts(one)] if isinstance(hint, tuple) else [hint]


def _taken(hint: object) -> set[str] | None:
    """The kinds that an annotation takes; None if one of them is unknown."""
    taken: set[str] = set()
    for part in _parts(hint):
        base = get_origin(part) or part
        if base in TAKEN:
            taken |= TAKEN[base]
        elif isinstance(base, type) and base.__module__.startswith(BUILT):
            taken |= {'a dict'}
        else:
            return None
    return taken


def _hint_inside(hint: object, value: object) -> object:
    """The annotation of what a list or dict has inside; None if unknown."""
    inner: list[object] = []
    for part in _parts(hint):
        base, args = get_origin(part) or part, get_args(part)
        if 'a dict' in TAKEN.get(base, ()) and isinstance(value, Mapping):
            inner += args[1:] or [None]
        elif 'a list' in TAKEN.get(base, ()) and not isinstance(value, Mapping):
            inner += [arg for arg in args if arg is not ...] or [None]
    return None if None in inner or not inner else tuple(inner)
