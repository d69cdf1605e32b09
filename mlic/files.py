"""Files: read whole or refused in one line, written whole or not at all."""

import csv
import errno
import io
import json
import os
import stat
import uuid
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from mlic.names import reason_of, repeated, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTIAL = '.partial'
LONGEST = 50  # characters of a name's end, of at most 4 bytes each: systems allow 255
ESCAPED = 'backslashreplace'  # what becomes of half characters, see write_text


class FileWriteError(OSError):
    """A file that could not be written; the message is one line and names it."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends without an error.

    It is written under a name of its own, which ends in '.partial', in the same folder, flushed to
    the disk and renamed. Whatever happens, ``path`` holds either its former content or all of the
    new one, of the last of several processes that write it at once. A link stays, and the file
    that it leads to is replaced; a device or pipe is written into.

    Raises:
        FileWriteError: If the system refuses (disk full, no permission); what was at ``path`` is
            as it was.
    """
    path = Path(path)
    is_device = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    target = path if is_device else Path(os.path.realpath(path))
    own = f'{target.name[-LONGEST:]}.{uuid.uuid4().hex[:8]}{PARTIAL}'
    partial = path if is_device else target.with_name(own)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            yield file
            _sync(file)
        if not is_device:
            os.replace(partial, target)
            _sync_folder(target.parent)
    except BaseException as error:
        if not is_device:
            with suppress(OSError):
                partial.unlink()
        # a FileWriteError is of another file, which is written along with this one
        if not isinstance(error, OSError) or isinstance(error, FileWriteError):
            raise
        reason = error.strerror or error
        if isinstance(error, FileExistsError):  # of mkdir
            reason = f'{error.filename} is not a folder'
        kept = 'its previous content is kept' if path.exists() else 'files written before are kept'
        kept = 'a part may have been' if is_device else kept
        raise FileWriteError(f'{path} was not written ({reason}); {kept}') from error


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


def write_texts(texts: dict[Path, str | bytes]) -> None:
    """Write several texts as UTF-8, or bytes: none changes before all are on the disk.

    Bytes of file names that are not UTF-8 are written as their escapes, which JSON reads back.

    Raises:
        FileWriteError: If the system refuses one; all are as they were.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            file = stack.enter_context(atomic_write(path))
            file.write(text if isinstance(text, bytes) else text.encode('utf-8', ESCAPED))
            _sync(file)


def read_bytes(path: str | Path) -> bytes:
    """All of a regular file.

    Raises:
        FileNotFoundError, ValueError: As :func:`check_regular`.
    """
    check_regular(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:  # of a broken disk or a lost network share it does not name the file
        raise type(error)(error.errno, error.strerror, str(path)) from error


def check_regular(path: str | Path) -> None:
    """Is it a file that ends?

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is a folder, or a pipe or device, which may never end.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not os.path.isfile(path):
        raise ValueError(f'{path}: not a regular file')


def read_text(path: str | Path) -> str:
    """All of a regular file of UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not a regular file, or not UTF-8; names the file and the line.
    """
    content = read_bytes(path)
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path}, line {line}: not UTF-8; save the file as UTF-8 ("CSV UTF-8" in a spreadsheet)'
        ) from error


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file, stripped, whatever their endings.

    Raises:
        FileNotFoundError, ValueError: As :func:`read_text`.
    """
    return [line.strip() for line in io.StringIO(read_text(path), newline=None)]


def read_class_file(path: str | Path) -> list[str]:
    """Class names, one a line; blank lines are none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text in UTF-8, has no name, or one twice.
    """
    names = [line for line in read_lines(path) if line]
    if not names:
        raise ValueError(f'{path}: found 0 class names, expected at least 1')
    twice = repeated(names)
    if twice:
        raise ValueError(f'{path} has the class {twice[0]!r} more than once')
    return names


def read_csv(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of its last line.

    Raises:
        FileNotFoundError, ValueError: As :func:`read_text`, or if a line is not in order: an open
            quote, a cell of more than 128 KiB, before Python 3.11 a NUL byte.
    """
    text = io.StringIO(read_text(path), newline='')
    reader = csv.reader(text, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}') from error


def read_json(path: str | Path) -> object:
    """The content of a JSON file.

    Raises:
        FileNotFoundError, ValueError: As :func:`read_text`, or as :func:`parse_json`.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str | bytes, where: str | Path) -> object:
    """The content of a JSON text.

    Args:
        text (str | bytes): Bytes are UTF-8.
        where (str | Path): Where it stands, for the messages.

    Raises:
        ValueError: If it is not JSON, nested too deep to be read, or an object in it has a key
            twice, of which one would be lost.
    """
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except RecursionError as error:
        raise ValueError(f'{where}: JSON that is nested too deep') from error
    except KeyTwice as error:
        raise ValueError(f'{where}: {error}') from error
    except ValueError as error:  # of the JSON, of an integer of thousands of digits, of UTF-8
        raise ValueError(f'{where}: not JSON ({error})') from error


class KeyTwice(ValueError):
    """An object that has a key twice; the message says which."""


def each_key_once(pairs: list[tuple[str, object]]) -> dict:
    """The dict of the pairs of an object; KeyTwice if a key would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise KeyTwice(f'{short(twice)} occurs twice in one object')
    return content


def read_xml(path: str | Path) -> ET.Element:
    """The root of an XML file; nothing outside of it is read, and entities do not blow it up.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not a regular file, not complete XML, or in an unknown encoding.
    """
    content = read_bytes(path)
    try:
        return ET.fromstring(content)
    except (LookupError, ValueError, ET.ParseError) as error:
        raise ValueError(f'{path}: not complete XML ({error})') from error


def map_array(path: str | Path) -> np.ndarray:
    """The array of a ``.npy`` file, read-only, on the disk until it is used.

    A header that promises more than the file holds is refused before any memory is taken, and so
    are pickled objects.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not a regular file, or not an ``.npy`` file of plain values.
    """
    check_regular(path)
    try:
        return np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # numpy raises a dozen kinds for a damaged header
        reason = reason_of(error)
        raise ValueError(f'{path}: not a .npy file of plain values ({reason})') from error


def _sync(file: BinaryIO) -> None:
    """Let what was written reach the disk, where it goes to one."""
    file.flush()
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Let the rename itself survive a power failure, where a folder can be synchronised.

    Not on Windows, on some network drives, and in a folder that may not be listed.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
