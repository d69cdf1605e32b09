"""Read checkpoints without running anything that they hold, through every door of mmengine."""

import functools
import os
import pickle
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO
from unittest.mock import patch

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mlic.engine.mmengine_internals import loader_schemes
from mlic.engine.shortages import is_lack_of_memory
from mlic.files import check_regular
from mlic.names import reason_of

from .initial_weights import look_for_weights
from .safetensors_file import SUFFIX, read_safetensors

TRUST = 'SADCL_TRUST_CHECKPOINTS'
SMALL = 2**30  # bytes that an archive may always unpack to; torch's own are not compressed
_LOCK = threading.RLock()  # what a file may hold is torch's list, and the environment's
FORCE, FORBID = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or only by running code in it; the message is one line."""


def read_checkpoint(
    path: str | Path,
    map_location: object = 'cpu',
    mmap: bool = False,
) -> Mapping:
    """A file's dict of tensors, plain values and mmengine's log; nothing in it is ever executed.

    The environment variable ``SADCL_TRUST_CHECKPOINTS=1`` switches this off: then the file is
    loaded as a pickle, which may run any code.

    Args:
        path (str | Path): The checkpoint, in torch's zip format or in the one before it; or
            ``.safetensors``.
        map_location (object): torch.load's; tensors of ``.safetensors`` stay on the CPU. Defaults
            to 'cpu'.
        mmap (bool): Leave the tensors on the disk until they are used, where the format allows.
            Defaults to False.

    Raises:
        CheckpointError: If the file is not a checkpoint, or holds other objects.
        OSError: If there is no such file, or it cannot be opened.
        MemoryError: Naming the file.
    """
    path = Path(path)
    try:
        check_regular(path)  # a pipe would let it wait for ever
        content = read_safetensors(path) if path.suffix == SUFFIX else None
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if content is not None:
        return content
    with _refusal(path), _allow_log():
        mmap = _check_unpacked(path, path) and mmap  # torch maps its zip format only
        content = torch.load(
            path, map_location=map_location, weights_only=not is_trusted(), mmap=mmap or None
        )
    _check_dict(content, path)
    return content


def is_trusted() -> bool:
    """Whether the user has said that checkpoints may run code."""
    value = os.environ.get(TRUST, '')
    if value not in ('', '0', '1'):
        raise CheckpointError(f'{TRUST} must be 0 or 1, got {value!r}')
    return value == '1'


def install_safe_loading() -> None:
    """Let every scheme of mmengine's ``CheckpointLoader`` read without running code.

    ``load_from``, ``--resume``, ``init_cfg``, ``get_model`` and the inferencers all go through
    it. A download stays mmengine's, and is read as a local file is. Importing ``mlic.engine``
    calls this once; calling it again changes nothing.
    """
    for prefix, loader in loader_schemes().items():
        if not hasattr(loader, '__wrapped__'):
            safe = load_from_local if prefix == '' else _make_safe(loader)
            CheckpointLoader.register_scheme(prefix, safe, force=True)


def load_from_local(filename: str, map_location: object = None) -> dict:
    """mmengine's loader of local files, without code from the file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: See :func:`read_checkpoint`.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint not found: {path} is not a file')
    return _for_mmengine(read_checkpoint(path, map_location=map_location))


load_from_local.__wrapped__ = None  # it needs no further wrapping


def _make_safe(loader: Callable) -> Callable:
    """A loader of mmengine's, in which each torch.load builds tensors and plain values only."""

    @functools.wraps(loader)  # mmengine writes the name of the function to the log
    def load(filename: str, map_location: object = None) -> dict:
        if str(filename).endswith(SUFFIX):
            raise CheckpointError(f'{filename}: download it, and give the file')
        look_for_weights(filename)  # all processes, before one of them waits for another's download
        if is_trusted():
            content = loader(filename, map_location)
            _check_dict(content, filename)
            return _for_mmengine(content)
        with _LOCK:
            before = {name: os.environ.pop(name, None) for name in (FORCE, FORBID)}
            os.environ[FORCE] = '1'
            checked = functools.partial(_load_checked, torch.load, filename)
            try:
                with _refusal(filename), _allow_log(), patch.object(torch, 'load', checked):
                    content = loader(filename, map_location)
            finally:
                del os.environ[FORCE]
                given = {name: value for name, value in before.items() if value is not None}
                os.environ.update(given)
        _check_dict(content, filename)
        return _for_mmengine(content)

    return load


def _for_mmengine(content: Mapping) -> Mapping:
    """With weights that others publish as ``model`` where mmengine looks for them.

    And without the old place of a run's config: mmengine executes it as Python when it resumes.
    """
    if 'state_dict' not in content and isinstance(content.get('model'), Mapping):
        return {'state_dict': content['model']}
    if content.get('meta') and not is_trusted():
        content['meta'].pop('config', None)
    return content


def _check_dict(content: object, path: str | Path) -> None:
    """Refuse a file that holds something else."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{path} must hold a dict, got {type(content).__name__}')


def _load_checked(load: Callable, name: str, f: str | IO[bytes], *args, **kwargs) -> object:
    """torch.load of what mmengine has fetched, unless it would fill the memory."""
    _check_unpacked(f, name)
    return load(f, *args, **kwargs)


def _check_unpacked(file: str | os.PathLike | IO[bytes], name: str | Path) -> bool:
    """Whether it is an archive; one is refused that torch would fill the memory with."""
    is_path = isinstance(file, (str, os.PathLike))
    with open(file, 'rb') if is_path else nullcontext(file) as stream:
        is_archive = stream.read(4) == b'PK\x03\x04'
        packed = stream.seek(0, os.SEEK_END)
        parts = zipfile.ZipFile(stream).infolist() if is_archive else []
        stream.seek(0)
    size = sum(part.file_size for part in parts)
    if size > max(SMALL, packed):
        raise CheckpointError(
            f'{name}: its parts would have {size} bytes, more than the file: save it again with '
            'torch.save, which does not compress'
        )
    return is_archive


@contextmanager
def _refusal(path: str | Path) -> Iterator[None]:
    """Turn whatever torch says of a file into one line for people."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        if is_lack_of_memory(error):  # the file may be sound
            raise MemoryError(f'{path}: {reason_of(error)}') from error
        if isinstance(error, OSError):
            if error.filename or '://' in str(path):  # or of a download: not of the file's content
                raise
            raise CheckpointError(f'{path} cannot be read ({error})') from error
        refused = isinstance(error, pickle.UnpicklingError)
        found = _other_objects(path, str(error)) if refused else []
        if not found:
            raise CheckpointError(f'{path} is not a checkpoint that torch can read') from error
        raise CheckpointError(
            f'{path} holds {", ".join(found)} next to its weights, which only code from the file '
            f'itself could rebuild. If you trust the file, set {TRUST}=1 for this command: '
            'the code then runs'
        ) from error


def _other_objects(path: str | Path, message: str) -> list[str]:
    """Names of the objects in a file that are neither tensors nor plain values."""
    try:
        with _allow_log():
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a download, or the old format
        names = []
    # torch's message names the first it meets, in every format
    return sorted(names) or re.findall(r'GLOBAL ([\w.]+)', message)[:1]


def _get_statistic(owner: type, name: str) -> Callable:
    """What ``getattr`` is to a checkpoint: one of four methods of mmengine's log."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL getattr of {name}')
    return getattr(owner, name)


@contextmanager
def _allow_log() -> Iterator[None]:
    """Let torch.load rebuild mmengine's log, too: numbers, arrays and four methods.

    For the time of one call: mmengine takes what both allow off torch's list after its own. That
    list is the process's, so the threads take turns.
    """
    array = np.zeros(1)
    rebuild = (array.__reduce__()[0], array[0].__reduce__()[0])
    # written by numpy 1, read by numpy 2, and the other way round
    renamed = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in rebuild
        for core in ('core', '_core')
    ]
    dtypes = {
        type(np.dtype(name))
        for name in ('float64', 'float32', 'float16', 'int64', 'int32', 'uint32', 'uint8', 'bool')
    }
    log = [HistoryBuffer, (_get_statistic, 'builtins.getattr')]
    with _LOCK, torch.serialization.safe_globals([*renamed, np.ndarray, np.dtype, *dtypes, *log]):
        yield
