"""Parsed labels, kept in a file next to the annotations."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock
from mmengine.logging import print_log

from mlic.files import atomic_write, parse_json, read_bytes

from .list_files import list_folders_of

FORMAT = 3  # to be raised whenever a data set parses to something else than before
WHOLE_FILE = 32 * 2**20  # bytes; up to here a file is hashed as a whole, in well under a second
FILE_END = 2**20  # bytes at either end of a larger file


def load_labels(
    ann_file: str | Path,
    sources: Sequence[str],
    settings: dict,
    parse: Callable[[], dict],
) -> dict:
    """What ``parse`` returns, from the cache if the sources are the ones it was parsed from.

    The cache is ``{ann_file}.{settings}.labels``: a line of JSON with the fingerprint of sources
    and settings and the hash of the rest, which is the labels as JSON. What does not fit its
    fingerprint or its hash is parsed again and replaced: that protects from accidents, not from
    who could as well change the annotations. Processes that start together on one machine wait for
    the first of them; machines that share a disk may each parse once, since locks on network disks
    are not reliable. A barrier among the ranks would hang when one of them fails, or when only some
    of them build the data set. A new cache is written under a temporary name and renamed, so no
    process reads half of one. A folder that cannot be written, or whose mode says so (root
    included), gets no cache and a line in the log.

    Args:
        ann_file (str | Path): The file that names the cache, in whose folder it is kept.
        sources (Sequence[str]): :func:`digest_file` and the like of everything that is parsed.
        settings (dict): What else the labels depend on, such as data set, split and classes.
        parse (Callable): Reads the labels, as JSON's types: ``labels`` (sorted indices of each
            image) and lists of the same length, of names rather than of paths, which depend on
            where the data are.

    Returns:
        dict: The labels.
    """
    key = _hash(json.dumps([FORMAT, settings], sort_keys=True).encode())
    fingerprint = _hash(json.dumps([key, *sources]).encode())
    path = Path(f'{ann_file}.{key[:8]}.labels')
    labels = _read(path, fingerprint)
    if labels is None:
        with locked(path, 'labels'):
            labels = _read(path, fingerprint)  # another process may have written it meanwhile
            if labels is None:
                labels = parse()
                _write(path, fingerprint, labels)
                return labels
    print_log(f'{ann_file}: labels from cache {path}', 'current')
    return labels


def digest_file(path: str | Path) -> str:
    """Identify the content of a file; a missing one has a digest, too, and is for the parser.

    A small file is identified by its content alone: a copy is the same file. Of a large one (the
    JSON of COCO has 448 MB, which every process would read in every run) both ends, the size and
    the time of the last change count. Size and time alone would take another version of the file
    that was unpacked with its old date for the same one.
    """
    path = Path(path)
    if not path.is_file():
        return 'missing'
    stat = path.stat()
    if stat.st_size <= WHOLE_FILE:
        return _hash(read_bytes(path))
    with path.open('rb') as file:
        ends = file.read(FILE_END)
        file.seek(-FILE_END, os.SEEK_END)
        ends += file.read()
    return f'{stat.st_size} {stat.st_mtime_ns} {_hash(ends)}'


def digest_folder(folder: str | Path, names: Sequence[str]) -> str:
    """Identify files of a folder by name, size and time of the last change, without opening them.

    Missing ones are missing in the digest, and are for the parser.
    """
    wanted = set(names)
    if not Path(folder).is_dir():
        return 'missing'
    found = [(name, x.stat()) for name, x in list_folders_of(folder, names) if name in wanted]
    rows = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)
    return _hash(json.dumps(rows).encode())


@contextlib.contextmanager
def locked(path: Path, kind: str) -> Iterator[Path | None]:
    """Let this machine's other processes wait at the same place; only a killed one leaves its file.

    Yields:
        Path: The lock's file, None where its name is taken: no process waits for another then.
    """
    file = lock_file(path, kind)
    lock = FileLock(file)
    try:
        lock.acquire()
    except OSError:
        file = None
    try:
        yield file
    finally:
        if file:  # still locked: who opened it before, and locks it later, finds that it is gone
            with contextlib.suppress(OSError):  # Windows': the release takes the file away there
                file.unlink()
        lock.release()


def lock_file(path: Path, kind: str) -> Path:
    """A file on this machine for the lock of a cache; one of another user may not be opened."""
    user = os.getuid() if hasattr(os, 'getuid') else 0  # Windows has a folder for each user
    name = f'{kind}_{user}_{_hash(os.fsencode(path.resolve()))[:16]}.lock'
    return Path(tempfile.gettempdir()) / name


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, fingerprint: str) -> dict | None:
    """The labels of a cache, None if there is none that is whole and has this fingerprint."""
    try:
        head, _, body = read_bytes(path).partition(b'\n')
        head = parse_json(head, path)
        if head['fingerprint'] != fingerprint or head['hash'] != _hash(body):
            return None
        return parse_json(body, path)
    except (AttributeError, KeyError, OSError, TypeError, ValueError):  # whatever else is there
        return None


def _write(path: Path, fingerprint: str, labels: dict) -> None:
    """Put a cache into place as a whole, or say that there will be none."""
    body = json.dumps(labels, separators=(',', ':')).encode()
    head = json.dumps(dict(fingerprint=fingerprint, hash=_hash(body))).encode()
    try:
        if not path.parent.stat().st_mode & 0o222:  # root may write all the same, but should not
            raise PermissionError('the folder is read-only')
        with atomic_write(path) as file:
            file.write(head + b'\n' + body)
    except OSError as error:
        print_log(
            f'{path.parent}: no label cache, so every run parses the labels again '
            f'({error.__cause__ or error})',
            'current',
            logging.WARNING,
        )
