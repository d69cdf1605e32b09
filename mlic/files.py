"""Files: read whole or refused in one line, written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = '.partial'


class FileWriteError(OSError):
    """A file that could not be written; the message is one line and names it."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends without an error.

    It is written to ``path`` + '.partial' in the same folder, flushed to the disk and renamed.
    Whatever happens, ``path`` holds either its former content or all of the new one.

    Raises:
        FileWriteError: If the system refuses (disk full, no permission); what was at ``path`` is
            as it was.
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except FileWriteError:  # of another file, which is written along with this one
        partial.unlink(missing_ok=True)
        raise
    except OSError as error:
        partial.unlink(missing_ok=True)
        kept = 'its former content is kept' if path.exists() else 'files written before are kept'
        raise FileWriteError(
            f'{path} was not written ({error.strerror or error}); {kept}'
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8 by :func:`atomic_write`, its line ends as they are."""
    with atomic_write(path) as file:
        file.write(text.encode('utf-8'))


def write_json(path: str | Path, content: object, indent: int | None = 2) -> None:
    """Write what JSON can hold by :func:`atomic_write`; names keep their characters."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + '\n')


def write_texts(texts: dict[Path, str]) -> None:
    """Write several texts as UTF-8: none of the files changes before all are on the disk.

    Bytes of file names that are not UTF-8 are written as their escapes, which JSON reads back.

    Raises:
        FileWriteError: If the system refuses one; all are as they were.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            file = stack.enter_context(atomic_write(path))
            file.write(text.encode('utf-8', 'backslashreplace'))
            file.flush()
            os.fsync(file.fileno())


def read_bytes(path: str | Path) -> bytes:
    """All of a regular file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file: a folder, or a pipe or device, which may never end.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f'{path}: not a regular file')
    return path.read_bytes()


def read_text(path: str | Path) -> str:
    """All of a regular file of UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, or not UTF-8; names the file and the line.
    """
    content = read_bytes(path)
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path}, line {line}: not UTF-8; save the file as UTF-8 ("CSV UTF-8" in a spreadsheet)'
        ) from error


def read_json(path: str | Path) -> object:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, not UTF-8, not JSON, or nested too deep to be read;
            names the file.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    except RecursionError as error:
        raise ValueError(f'{path}: JSON that is nested too deep') from error


def _sync_folder(folder: Path) -> None:
    """Let the rename itself survive a power failure, where folders can be synchronised."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
