"""What is wrong with a config, as mmengine's errors say when it reads it or builds from it."""

import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from types import FrameType

from mmengine.model import BaseModel
from torch import nn

from mlic.models.checks import POOL_A_MAP, no_feature_map
from mlic.names import short
from mlic.registries import REGISTRIES, find_registered

from .values import arguments_of

# the others that have registered something there
LIBRARIES = {'functools', 'mmcv', 'mmengine', 'mmpretrain', 'timm', 'torch', 'torchvision'}
UNEXPECTED = re.compile(
    r"(?<![\w.])([\w.]+?)(?:\.__init__)?(?:\(\))? got an unexpected keyword argument '(\w+)'"
)
MISSING = re.compile(r'\b(\w+)\.__init__\(\) missing \d+ required [\w -]+: (.+)')
# what reads a config, or builds from it: modules, and the beginnings of their functions' names
READERS = {
    'mmengine.config.config': 'fromfile',
    'mmengine.evaluator.evaluator': 'evaluate',  # two results of one name
    'mmengine.model.base_model.base_model': 'parse_losses',
    'mmengine.registry.build_functions': 'build_',
    'mmengine.optim.optimizer.default_constructor': '__call__',
    'mmengine.runner.runner': ('__init__', 'build_', 'register_', 'setup_env'),
}
MODEL_LIBRARIES = ('mmpretrain.models', 'timm.')
HEADS, NECKS = 'mmpretrain.models.heads', 'mmpretrain.models.necks'
SHAPES = re.compile(r'\b(sizes?|shapes?|channels|dimensions?)\b')  # in what torch says
UNREGISTERED = re.compile(r'\b(\w+) is not in the \S+::([\w ]+) registry')


def is_of_config(error: Exception, raised_in: str) -> bool:
    """Whether the config is the reason: what mmengine does not take, or the class it names."""
    line = traceback.extract_tb(error.__traceback__)[-1].line or ''
    if isinstance(error, TypeError):
        built = raised_in.startswith(('mmengine.', 'torch.nn.utils.clip_grad'))
        unexpected = UNEXPECTED.search(str(error))
        built = built or bool(unexpected) and inspect.isfunction(registered().get(unexpected[1]))
        if unexpected and (built or 'super().__init__(' in line):
            return True
    if _line_at(error) or _fault_of_model(error) or _fault_of_data(error):
        return True
    if isinstance(error, NameError) and _file_at(error):
        return True
    kinds = (AssertionError, KeyError, RuntimeError, TypeError, ValueError)
    frames = _frames_of_libraries(error)
    if not frames or not isinstance(error, kinds) or not str(error):
        return False
    says = re.search(r'\b(raise|assert)\b', line) or module_of(frames[-1]).startswith('mmengine.')
    return bool(says) and any(
        frame.f_code.co_name.startswith(READERS.get(module_of(frame), ' ')) for frame in frames
    )


def _frames_of_libraries(error: Exception) -> list[FrameType]:
    """The innermost frames, below any line of ours or of a user; without Python's own at the end.

    They are of LIBRARIES and of what comes with Python, or pass arguments on to a base there.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    while frames and module_of(frames[-1][0]).split('.')[0] in sys.stdlib_module_names:
        frames.pop()
    known = LIBRARIES | sys.stdlib_module_names
    for index, (frame, line) in reversed([*enumerate(frames)]):
        text = linecache.getline(frame.f_code.co_filename, line)
        if module_of(frame).split('.')[0] not in known and 'super().__init__(' not in text:
            frames = frames[index + 1 :]
            break
    return [frame for frame, _ in frames]


def module_of(frame: FrameType) -> str:
    """The name of the module whose code a frame runs."""
    return frame.f_globals.get('__name__', '')


def _entries_at(error: Exception) -> list[Mapping]:
    """The dicts of a config that mmengine was building from."""
    for frame in reversed(_frames_of_libraries(error)):
        if module_of(frame).startswith('mmengine.config'):
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


def _is_raised_in(error: Exception, function: str) -> bool:
    """Whether a library's function of that name is among the innermost frames."""
    return any(frame.f_code.co_name == function for frame in _frames_of_libraries(error))


def _fault_of_data(error: Exception) -> str | None:
    """That mmengine was reading a data set of no images, or joins some that differ; else None."""
    text = str(error)
    if (
        isinstance(error, RuntimeError)
        and 'equal size' in text
        and ('default_collate' in text or _is_raised_in(error, 'default_collate'))
    ):
        return (
            'the images of a batch differ in size, or the pipeline does not end with '
            f"dict(type='PackInputs'): {text.strip().splitlines()[-1]}"
        )
    if not isinstance(error, ValueError) or not _is_raised_in(error, '_serialize_data'):
        return None
    name = type(_frames_of_libraries(error)[-1].f_locals.get('self')).__name__
    return f'{name} has 0 images: check its files, split and filters'


def _line_at(error: Exception) -> str:
    """Where a config's own line failed, with a colon; '' if none did."""
    *outer, (frame, line) = traceback.walk_tb(error.__traceback__)
    if module_of(frame) or not outer or outer[-1][0].f_code.co_name != '_file2dict':
        return ''
    return f'{frame.f_code.co_filename}, line {line}: '


def _is_called_by_own_part(error: Exception) -> bool:
    """Whether a part of the model that is neither a library's nor ours called what failed."""
    known = LIBRARIES | sys.stdlib_module_names
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if module_of(frame).split('.')[0] not in known]
    caller = own[-1].f_locals.get('self') if own else None
    is_part = isinstance(caller, nn.Module) and not isinstance(caller, BaseModel)
    return is_part and not module_of(own[-1]).startswith('mlic.')


def _fault_of_model(error: Exception) -> str | None:
    """What does not fit a part of the model that is mmpretrain's or timm's; None if they fit."""
    kinds = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
    if not isinstance(error, kinds):
        return None
    if isinstance(error, AttributeError) and _is_raised_in(error, 'parse_losses'):
        return "the head's loss() must return a dict of losses, such as dict(loss_cls=...)"
    frames = _frames_of_libraries(error)
    libraries = [frame for frame in frames if module_of(frame).startswith(MODEL_LIBRARIES)]
    if not libraries or _is_called_by_own_part(error):
        return None
    owners = [frame.f_locals.get('self') for frame in libraries]
    owners = [one for one in owners if one is not None and not isinstance(one, BaseModel)]
    if not owners:
        return None
    line = traceback.extract_tb(error.__traceback__)[-1].line or ''
    checks = module_of(frames[-1]).startswith((*MODEL_LIBRARIES, 'torch.nn.'))
    says = checks and str(error) and re.search(r'\b(raise|assert)\b', line)
    says = says and not isinstance(error, AttributeError)  # nn.Module's, of a class's own mistake
    return _misfit(owners[0], owners[-1], error) or (
        f'{type(owners[0]).__name__}: {error}' if says else None
    )


def _is_of_labels_or_machine(error: Exception, function: str) -> bool:
    """Whether an error that a function of a part raised says nothing of what the part was given."""
    if re.search('loss|predict', function) or _is_raised_in(error, '_verify_batch_size'):
        return True  # after forward, or one image is too few for batch norm
    text = str(error)
    of_shapes = type(error) is RuntimeError and SHAPES.search(text) and 'stride' not in text
    return isinstance(error, RuntimeError) and not of_shapes  # such as CUDA's, or of channels_last


def _misfit(part: object, inner: object, error: Exception) -> str | None:
    """What is wrong with the images or features that a part of the model was given.

    Args:
        part (object): Backbone, neck, head, or loss.
        inner (object): The innermost of its own parts in which the error was raised, or itself.
        error (Exception): Raised by a library.
    """
    name, kind = type(part).__name__, type(part).__module__
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    calls = [frame.f_locals for frame in frames]
    own = [frame for frame in frames if frame.f_locals.get('self') is part]
    if _is_of_labels_or_machine(error, own[-1].f_code.co_name):
        return None
    args = [frame.f_locals.get('args') for frame in own]
    passed = next((call[0] for call in args if isinstance(call, tuple) and call), None)
    given = own[0].f_locals.get('feats') if passed is None else passed
    feat = given[-1] if isinstance(given, (list, tuple)) and given else given
    shape = tuple(getattr(feat, 'shape', ()))
    called = [call for call in calls if isinstance(call.get('self'), (nn.Linear, nn.Conv2d))]
    layer, values = next(
        ((call['self'], call['input']) for call in called if hasattr(call.get('input'), 'shape')),
        (None, None),
    )
    linear = isinstance(layer, nn.Linear)
    pools = linear and kind.startswith(HEADS) and (len(shape) > 2 or shape[1:] == (1,))
    if pools:
        return f'{name} takes pooled features (B, {layer.in_features}), got {shape}: {POOL_A_MAP}'
    takes_map = kind.startswith((HEADS, NECKS)) and not (linear and shape)
    if given is not None and takes_map and len(shape) != 4:
        instead = '; or set neck=None' * (kind.startswith(NECKS) and len(shape) == 2)
        return f'{name} {no_feature_map(feat)}{instead}'
    if layer is not None and 'in_channels' in arguments_of(type(inner)):
        wanted = layer.in_features if linear else layer.in_channels
        got = values.shape[-1 if linear else 1]
        if got != wanted:
            name = type(inner).__name__
            return f'{name}(in_channels={wanted}) got features {tuple(values.shape)}: set {got}'
    if '.backbones.' not in kind or len(shape) != 4:
        return None
    if isinstance(error, (AttributeError, TypeError)):  # which images of no size raise
        return None
    text = str(error).strip().rstrip('.') or type(error).__name__
    return (
        f'{name}: {text}; it was given images of {shape[3]} x {shape[2]} px: use another size in '
        'the pipelines, or set its img_size, where it has one (docs/backbones.md)'
    )


def _file_at(error: Exception) -> str:
    """The config that mmengine was reading, with a colon; '' for none."""
    for frame in reversed(_frames_of_libraries(error)):
        read = frame.f_code.co_name in ('fromfile', '_file2dict')  # others have a copy's name
        if read and module_of(frame) == 'mmengine.config.config':
            return f'{frame.f_locals["filename"]}: '
    return ''


def registered() -> dict[str, object]:
    """All that is registered with mmpretrain or mmengine, by name."""
    registries = [one for child in REGISTRIES.values() for one in (child.parent, child) if one]
    return {name: cls for registry in registries for name, cls in registry.module_dict.items()}


def describe_fault(error: Exception) -> str | None:
    """What to change in the config, in one line; None if the error does not say."""
    if _line_at(error):
        return f'{_line_at(error)}{type(error).__name__}: {error}'
    if _fault_of_model(error):
        return _fault_of_model(error)
    unexpected = UNEXPECTED.search(str(error))
    if unexpected and isinstance(error, TypeError):
        kind, name = unexpected.groups()
        taken = arguments_of(registered().get(kind, object))
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
    if str(error) == 'None is not a callable object':  # what mmengine has found for an optimizer
        found = _frames_of_libraries(error)[-1].f_locals.get('optimizer_cfg')
        name, kind = (found or {}).get('type'), 'optimizer'
    if name:
        kinds = {one.name for one in REGISTRIES.values() if find_registered(one, name)}
        if kind in kinds:
            return f'what is written before {name!r} has no {kind}: leave it out, or import it'
        if kinds:
            return f'{name!r} is registered as {min(kinds)}, and not as {kind}'
        close = get_close_matches(name, registered())
        similar = f'; similar names: {", ".join(close)}' if close else ''
        return (
            f'{name!r} is not a registered {kind}{similar}. Is the package that has it '
            "in the config's custom_imports?"
        )
    if isinstance(error, KeyError):  # whose text is in quotes
        text = str(error.args[0]).partition('\n')[0] if error.args else ''
        if text == 'inputs':
            return "the data have no 'inputs': let the pipeline end with dict(type='PackInputs')"
        if ' ' in text or not entries or 'type' not in entries[0]:
            return None
        return f"{text!r} is not known, in the config's {short(dict(entries[0]))}"
    if isinstance(error, NameError) and _is_raised_in(error, '_get_base_files'):
        return f'{_file_at(error)}_base_ is read alone, without the rest of the file, and {error}'
    if 'import_modules_from_strings()' in str(error):
        return f"{_file_at(error)}custom_imports must be a dict, such as dict(imports=['package'])"
    if isinstance(error, TypeError) and _file_at(error):
        return f'{_file_at(error)}{error}'
    return _fault_of_data(error)
