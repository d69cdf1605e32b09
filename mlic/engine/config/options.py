"""Entries of a config that the command line replaces: one that nothing reads is refused."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

# what is read at the top level of a config: by mmengine's Runner, and here
READ = frozenset(
    {
        *(inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}),
        *('activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval'),
        *('find_unused_parameters', 'model_wrapper_cfg', 'sync_bn'),
        *('channels_last', 'compile_options', 'compiled_parts', 'eval_precision'),
        *('load_from_classes', 'tuned_on'),
    }
)
# what mmengine reads of dicts that it passes to no function, and so takes anything else in silence
READ_INSIDE = dict(
    auto_scale_lr=('base_batch_size', 'enable'),
    env_cfg=('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
)
MOST_NAMED = 4
LEAST_SIDE = 100  # of an image, in pixels: few other numbers are as large


def merge_options(cfg: Config, options: Mapping | None) -> None:
    """Replace entries of a config; changes ``cfg``.

    A config file may name values of its own, and use them; of the options each has to be read
    after that.

    Raises:
        ValueError: If nothing reads an option, or its key leads nowhere.
    """
    options = dict(options or {})
    for key in options:
        top, _, rest = key.partition('.')
        if top not in READ:
            raise ValueError(_why_unread(cfg, top, f'.{rest}' if rest else ''))
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:  # an index too large, an entry of an entry of a number
        raise ValueError(f'{" ".join(options)}: {" ".join(map(str, error.args))}') from error


def misspelt_names(cfg: Mapping) -> list[str]:
    """A line for each value of a config that nothing reads, and whose name is nearly one read.

    Other names, such as ``train_pipeline``, are a config's own. So are those of hooks, which are
    told if they are nearly one that is there before, in the config that is inherited.
    """
    likely = {key: get_close_matches(key, READ, 1, 0.85) for key in cfg if key not in READ}
    lines = [
        f'nothing reads {key} of the config; did you mean {close[0]}?'
        for key, close in likely.items()
        if close
    ]
    for name, read in READ_INSIDE.items():
        unread = [key for key in cfg.get(name) or () if key not in read]
        lines += [f'nothing reads {name}.{key}: {", ".join(read)} are' for key in unread]
    hooks = list(cfg.get('default_hooks') or ())
    for index, name in enumerate(hooks):
        close = get_close_matches(name, hooks[:index], 1, 0.85)
        if close:
            lines.append(f'default_hooks has {close[0]} and {name}: did you mean one of them?')
    return lines


def set_in_vain(text: str) -> list[str]:
    """A line for each value that a config file sets anew, and that only inherited files have used.

    Args:
        text (str): ``Config.text``: each file below its path, the inherited ones first.
    """
    parts = re.split(r'(?m)^(/.+\.(?:py|json|ya?ml))\n', text)[1:]
    files = [(path, list(_statements(source))) for path, source in zip(parts[::2], parts[1::2])]
    lines = []
    for index, (path, here) in enumerate(files):
        inherited = [one for _, statements in files[:index] for one in statements]
        later = [one for _, statements in files[index + 1 :] for one in statements]
        own = {name: one for one in here for name in one.names}
        before = {name: one.value for one in inherited for name in one.names}
        read_here = {name for one in here for name in one.read}
        read_later = {name for one in later for name in one.read}
        for name in sorted((own.keys() & before.keys()) - READ - read_here - {'_base_'}):
            if own[name].value == before[name]:
                continue
            forms = {name, f'_base_.{name}'}
            made = {x: None for one in inherited if one.read & forms for x in one.names}
            is_given = any(own[name].value in own[x].parts for x in made if x in own)
            if made and not is_given and f'_base_.{name}' not in read_later:
                lines.append(
                    f'setting {name} in {Path(path).name} changes nothing: what it inherits has '
                    f'already used its {name}, for {", ".join(made)}; set this anew, too'
                )
    return lines


@dataclass
class _Statement:
    """The names that a statement of a config file sets, those that it reads, and its value."""

    names: set[str]
    read: set[str]
    value: str
    parts: set[str]  # of the value, too


def _statements(source: str) -> Iterator[_Statement]:
    """Those of a config file."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # YAML
        return
    for statement in statements:
        targets = getattr(statement, 'targets', ())
        names = {node.id for node in targets if isinstance(node, ast.Name)}
        value = getattr(statement, 'value', None) or statement
        nodes = list(ast.walk(value))
        read = {x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
        read |= {ast.unparse(x) for x in nodes if isinstance(x, ast.Attribute)}
        parts = {ast.unparse(x) for x in nodes if isinstance(x, ast.expr)}
        yield _Statement(names, read, ast.unparse(value), parts)


def _why_unread(cfg: Config, top: str, rest: str) -> str:
    """Why setting ``top`` changes nothing, and what to set instead."""
    values = cfg.to_dict()
    entries = list(_entries({key: value for key, value in values.items() if key in READ}))
    named = [entry for entry in entries if entry[0].endswith(f'.{top}')]
    if top in values:
        why = f'setting {top}{rest} changes nothing: the config file has already used its {top}'
        held = [entry for entry in entries if _is_from(values[top], top, *entry)]
        places = [place + rest for place in dict(named + held)]
        what = '; set ' if places else '; set the entries that were made of it'
    else:
        why = f'nothing reads {top}{rest}'
        inside = [place for place, value in named if rest or not isinstance(value, dict)]
        places = [place + rest for place in get_close_matches(top, READ, 1, 0.75) or inside]
        what = '; did you mean ' if places else ''
    more = ', …' * (len(places) > MOST_NAMED)
    end = '?' * what.endswith('mean ')
    return f'{why}{what}{", ".join(places[:MOST_NAMED])}{more}{end}'


def _is_from(value: object, name: str, place: str, found: object) -> bool:
    """Whether an entry seems to hold that value: a number, but of pixels, under a similar name."""
    last = place.rpartition('.')[2]
    is_side = type(value) is int and value >= LEAST_SIDE
    if is_side and (found == (value, value) or found == [value, value]):
        return True
    if type(found) is not type(value) or found != value:
        return False
    if isinstance(value, (dict, list, str)) or is_side:
        return bool(value) and not last.isdigit()
    return name in last or last in name


def items_of(value: object) -> Iterable[tuple[object, object]]:
    """Keys or indices, and what is there."""
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    return value.items() if isinstance(value, Mapping) else ()


def _entries(value: object, place: str = '') -> Iterator[tuple[str, object]]:
    """All entries inside, by their dotted keys."""
    for key, inner in items_of(value):
        inside = f'{place}.{key}'.lstrip('.')
        yield inside, inner
        yield from _entries(inner, inside)
