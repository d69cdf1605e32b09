"""Settings of the optimizer that mmengine would pass over, or refuse after an iteration."""

import inspect
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real

import torch
from mmpretrain.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mlic.names import short
from mlic.registries import find_registered

# what mmengine's constructor reads, and ours besides
READ = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult'),
    *('dcn_offset_lr_mult', 'flat_decay_mult', 'bypass_duplicate'),
)
CONSTRUCTORS = dict(
    DefaultOptimWrapperConstructor=READ, SharedGroupsConstructor=(*READ, 'layer_decay_rate')
)
FACTORS = ('lr_mult', 'decay_mult', 'layer_decay_rate', *(x for x in READ if x.endswith('_mult')))
CLIPPING = dict(norm=clip_grad_norm_, value=clip_grad_value_)


def check_paramwise(optim_wrapper: Mapping, model: nn.Module) -> list[str]:
    """Refuse keys that mmengine's constructor would pass over without a word.

    Args:
        optim_wrapper (Mapping): Config of the wrapper. Other constructors have other keys.
        model (nn.Module): Whose parameters are named.

    Returns:
        list[str]: A line for each of ``custom_keys`` that is in no parameter's name: such as come
        with a recipe for a backbone that may have them.

    Raises:
        ValueError: If nothing reads a key, a factor is no number, or mmpretrain's layer-wise decay
            has no weight decay.
    """
    constructor = optim_wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    settings = optim_wrapper.get('paramwise_cfg')
    lacks_decay = 'weight_decay' not in (optim_wrapper.get('optimizer') or {})
    if constructor == 'LearningRateDecayOptimWrapperConstructor' and lacks_decay:
        raise ValueError(
            f'{constructor} reads optim_wrapper.optimizer.weight_decay, and there is none: set '
            'weight_decay=0.05, or 0'
        )
    if constructor not in CONSTRUCTORS or not isinstance(settings, Mapping):
        return []
    place = 'optim_wrapper.paramwise_cfg'
    if 'layer_decay_rate' in settings and constructor != 'SharedGroupsConstructor':
        raise ValueError(
            f"{place}.layer_decay_rate is read by optim_wrapper.constructor='SharedGroups"
            f"Constructor' alone, and it is {constructor}"
        )
    _check_read(settings, CONSTRUCTORS[constructor], place)
    # None is mmengine's default
    given = {key: x for key, x in settings.items() if x is not None or key not in READ}
    _check_numbers(given, place)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    custom = settings.get('custom_keys')
    optimizer = find_registered(OPTIMIZERS, (optim_wrapper.get('optimizer') or {}).get('type'))
    lines = []
    for key, inner in custom.items() if isinstance(custom, Mapping) else ():
        if not isinstance(inner, Mapping):
            raise ValueError(
                f'{place}.custom_keys.{key} must be a dict, such as dict(lr_mult=0.1), got '
                f'{short(inner)}'
            )
        _check_numbers(inner, f'{place}.custom_keys.{key}')
        if optimizer:
            taken = ('lr_mult', 'decay_mult', *inspect.signature(optimizer).parameters)
            # others come into the parameters' group, where a schedule of your own may read them
            misspelt = [name for name in inner if _is_like_one_of(taken, name)]
            _check_read(misspelt, taken, f'{place}.custom_keys.{key}')
        part = getattr(model, key.partition('.')[0], model)
        # one of stored features has no parameters
        is_empty = part is None or isinstance(part, nn.Module) and not [*part.parameters()]
        if not is_empty and not any(key in name for name in names):
            lines.append(f'{place}.custom_keys: no parameter has {key!r} in its name')
    return lines


def _is_like_one_of(taken: Collection[str], name: str) -> bool:
    """Whether it may be misspelt: ``lr_mul`` may, and ``min_lr_mult`` has a whole name in it."""
    return any(f'_{one}_' not in f'_{name}_' for one in get_close_matches(name, taken, 1, 0.8))


def _check_numbers(settings: Mapping, place: str) -> None:
    for key, value in settings.items():
        if key in FACTORS and not isinstance(value, Real):
            raise ValueError(f'{place}.{key} must be a number, got {value!r}')


def _check_read(settings: Iterable[str], read: Collection[str], place: str) -> None:
    for key in settings:
        if key not in read:
            close = get_close_matches(key, read, 1)
            meant = f'; did you mean {close[0]}?' if close else f': {", ".join(read)} are'
            raise ValueError(f'nothing reads {place}.{key}{meant}')


def check_clipping(optim_wrapper: Mapping) -> None:
    """Clip a gradient as a config says, which a run does only after its first iteration.

    Raises:
        ValueError: If its settings are none of torch's.
    """
    settings, kind = optim_wrapper.get('clip_grad'), optim_wrapper.get('type', 'OptimWrapper')
    wrapper = find_registered(OPTIM_WRAPPERS, kind) or kind
    of_torch = getattr(wrapper, '__module__', '').startswith(('mmengine.', 'mlic.'))
    if not isinstance(settings, Mapping) or not of_torch:  # one of your own may clip otherwise
        return
    settings = dict(settings)
    clip = CLIPPING.get(settings.pop('type', 'norm'))
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    try:
        if clip and settings:  # mmengine refuses others
            clip([parameter], **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f'optim_wrapper.clip_grad={short(settings)}: {error}') from error
