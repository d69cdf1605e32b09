"""What is wrong with a config, as mmengine's errors say when it reads it or builds from it."""

import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from types import FrameType

from mlic.names import short
from mlic.registries import REGISTRIES, find_registered

# the others that have registered something there
LIBRARIES = {'functools', 'mmcv', 'mmengine', 'mmpretrain', 'torch', 'torchvision'}
UNEXPECTED = re.compile(
    r"([\w.]+?)(?:\.__init__)?(?:\(\))? got an unexpected keyword argument '(\w+)'"
)
MISSING = re.compile(r'(\w+)\.__init__\(\) missing \d+ required [\w -]+: (.+)')
# what reads a config, or builds from it: modules, and the beginnings of their functions' names
READERS = {
    'mmengine.config.config': 'fromfile',
    'mmengine.evaluator.evaluator': 'evaluate',  # two results of one name
    'mmengine.registry.build_functions': 'build_',
    'mmengine.optim.optimizer.default_constructor': '__call__',
    'mmengine.runner.runner': ('build_', 'register_'),
}
UNREGISTERED = re.compile(r'(\w+) is not in the \S+::([\w ]+) registry')


def is_of_config(error: Exception, raised_in: str) -> bool:
    """Whether the config is the reason: what mmengine does not take, or the class it names."""
    line = traceback.extract_tb(error.__traceback__)[-1].line or ''
    if isinstance(error, TypeError):
        built = raised_in.startswith(('mmengine.', 'torch.nn.utils.clip_grad'))
        if UNEXPECTED.search(str(error)) and (built or 'super().__init__(' in line):
            return True
    kinds = (AssertionError, KeyError, TypeError, ValueError)
    frames = _frames_of_libraries(error)
    if not frames or not isinstance(error, kinds) or not str(error):
        return False
    says = re.search(r'\b(raise|assert)\b', line) or _module(frames[-1]).startswith('mmengine.')
    return bool(says) and any(
        frame.f_code.co_name.startswith(READERS.get(_module(frame), ' ')) for frame in frames
    )


def _frames_of_libraries(error: Exception) -> list[FrameType]:
    """The innermost frames, below any line of ours or of a user; without Python's own at the end.

    They are of LIBRARIES and of what comes with Python, or pass arguments on to a base there.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    while frames and _module(frames[-1][0]).split('.')[0] in sys.stdlib_module_names:
        frames.pop()
    known = LIBRARIES | sys.stdlib_module_names
    for index, (frame, line) in reversed([*enumerate(frames)]):
        text = linecache.getline(frame.f_code.co_filename, line)
        if _module(frame).split('.')[0] not in known and 'super().__init__(' not in text:
            frames = frames[index + 1 :]
            break
    return [frame for frame, _ in frames]


def _module(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '')


def _entries_at(error: Exception) -> list[Mapping]:
    """The dicts of a config that mmengine was building from."""
    for frame in reversed(_frames_of_libraries(error)):
        if _module(frame).startswith('mmengine.config'):
            break  # nothing is built yet
        found = [value for value in frame.f_locals.values() if isinstance(value, Mapping) and value]
        if found or frame.f_code.co_name.startswith('build_'):
            return found
    return []


def _unknown_type(entry: object) -> str | None:
    """The first type that is registered nowhere."""
    if isinstance(entry, Mapping):
        kind = entry.get('type')
        named = isinstance(kind, str) and kind.isidentifier()
        if named and not any(find_registered(registry, kind) for registry in REGISTRIES.values()):
            return kind
        entry = entry.values()
    elif not isinstance(entry, (list, tuple)):
        return None
    return next(filter(None, map(_unknown_type, entry)), None)


def _file_at(error: Exception) -> str:
    """The config that mmengine was reading, with a colon; '' for none."""
    for frame in reversed(_frames_of_libraries(error)):
        if _module(frame) == 'mmengine.config.config' and frame.f_locals.get('filename'):
            return f'{frame.f_locals["filename"]}: '
    return ''


def registered() -> dict[str, object]:
    """All that is registered with mmpretrain or mmengine, by name."""
    registries = [one for child in REGISTRIES.values() for one in (child.parent, child) if one]
    return {name: cls for registry in registries for name, cls in registry.module_dict.items()}


def describe_fault(error: Exception) -> str | None:
    """What to change in the config, in one line; None if the error does not say."""
    unexpected = UNEXPECTED.search(str(error))
    if unexpected and isinstance(error, TypeError):
        kind, name = unexpected.groups()
        classes = inspect.getmro(registered().get(kind, object))  # some pass theirs on
        taken = {key for cls in classes for key in inspect.signature(cls.__init__).parameters}
        close = get_close_matches(name, taken)
        similar = f'; similar: {", ".join(close)}' if close else ''
        return (
            f'{kind} takes no {name!r}{similar}. If the config inherits it from another, '
            '_delete_=True in that dict leaves out all that is inherited'
        )
    if isinstance(error, AssertionError) and 'not support to load mlic config' in str(error):
        return (  # its '::' would also have a scope 'mlic' looked for
            f"{_file_at(error)}_base_ takes paths, not 'mlic::': write __import__("
            "'mlic.installation').installation.find_config('NAME'), or CONFIGS in its place for "
            'their folder'
        )
    missing = MISSING.search(str(error))
    if missing and isinstance(error, TypeError):
        return f'{missing[1]} needs {missing[2]}, which the config does not give it'
    unknown = UNREGISTERED.search(str(error))
    entries = _entries_at(error) if isinstance(error, (KeyError, TypeError)) else []
    name, kind = unknown.groups() if unknown else (_unknown_type(entries), 'class')
    if name:
        close = get_close_matches(name, registered())
        similar = f'; similar names: {", ".join(close)}' if close else ''
        return (
            f'{name!r} is not a registered {kind}{similar}. Is the package that has it '
            "in the config's custom_imports?"
        )
    if isinstance(error, KeyError):  # whose text is in quotes
        text = str(error.args[0]).partition('\n')[0] if error.args else ''
        where = f", in the config's {short(dict(entries[0]))}" if entries else ''
        return text if ' ' in text else f'{text!r} is not known{where}'
    if isinstance(error, TypeError) and _file_at(error):
        return f'{_file_at(error)}{error}'
    return None
