"""What a run is made of: sources of the code, and the files that its settings name."""

import functools
import hashlib
import importlib.util
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmpretrain.registry import DATASETS

from mlic import __version__
from mlic.evaluation.predictions import file_digest
from mlic.installation import ASSETS


def commit() -> str:
    """The commit of the working tree, with a + if files differ from it; of a wheel its version."""
    if ASSETS.name == '.mim':
        return f'mlic {__version__}'

    def git(*arguments: str) -> str:
        command = ['git', '-C', str(ASSETS), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        name = git('rev-parse', '--short', 'HEAD') or 'unknown'
        return name + '+' * bool(git('status', '--porcelain'))
    except OSError:
        return 'unknown'


@functools.cache
def code_of(modules: tuple[str, ...]) -> str:
    """A hash of the sources of modules, and of packages with all that is in them."""
    digest = hashlib.sha256()
    for module in modules:
        try:
            origin = Path(importlib.util.find_spec(module).origin)
        except (AttributeError, ImportError, TypeError):  # a folder, or not there
            continue
        files = origin.parent.rglob('*.py') if origin.name == '__init__.py' else [origin]
        for file in sorted(files):
            digest.update(f'{module} {file.relative_to(origin.parent)}'.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def files_in(value: object, root: str = '') -> Iterator[Path]:
    """The files that strings of a config name, also below the ``data_root`` next to them."""
    if isinstance(value, dict):
        root = value.get('data_root') or root
        for key in sorted(value, key=str):
            yield from files_in(value[key], root)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from files_in(item, root)
    elif isinstance(value, str) and value:
        yield from map(Path, filter(os.path.isfile, dict.fromkeys([value, f'{root}/{value}'])))


def label_files(dataset: Mapping) -> list[Path]:
    """The files that a data set reads its labels from and its config does not name.

    Args:
        dataset (Mapping): Of a data set that is no wrapper of several.
    """
    if not hasattr(DATASETS.get(dataset.get('of') or dataset['type']), 'label_files'):
        return []
    built = DATASETS.build({**dataset, 'pipeline': (), 'lazy_init': True})
    return [path for path in getattr(built, 'source', built).label_files() if path.is_file()]


def digest(path: Path) -> str:
    """SHA-256 of a file, read again if its size or time has changed."""
    stat = path.stat()
    return _digest_of_version(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _digest_of_version(path: Path, changed: int, size: int) -> str:
    return file_digest(path)
