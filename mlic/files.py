"""Files: read whole or refused in one line, written whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTIAL = '.partial'
ESCAPED = 'backslashreplace'  # what becomes of half characters, see write_text


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
    """Write a text as UTF-8 by :func:`atomic_write`, its line ends as they are.

    A file name may hold bytes that are not UTF-8. Python keeps such a byte as half a character,
    which is written as its escape, such as ``\\udce9``; in JSON this reads back to the same name.
    """
    with atomic_write(path) as file:
        file.write(text.encode('utf-8', ESCAPED))


def write_json(path: str | Path, content: object, indent: int | None = 2) -> None:
    """Write what JSON can hold by :func:`atomic_write`; names keep their characters."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + '\n')


def write_csv(path: str | Path, rows: Iterable[Sequence]) -> None:
    """Write a table by :func:`atomic_write`; its first row is the header."""
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator='\n').writerows(rows)
    write_text(path, text.getvalue())


def write_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """Write an ``.npz`` file by :func:`atomic_write`."""
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def write_picture(path: str | Path, picture: 'Image.Image | Figure') -> None:
    """Write a picture of Pillow or a figure of matplotlib by :func:`atomic_write`.

    The file's name says the format: ``.png``, ``.jpg`` (quality 90), ``.pdf``; a figure's also
    ``.svg``.
    """
    kind = Path(path).suffix[1:].lower()
    with atomic_write(path) as file:
        if isinstance(picture, Image.Image):
            picture.save(file, 'JPEG' if kind == 'jpg' else kind, quality=90)
        else:
            picture.savefig(file, format=kind)


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
