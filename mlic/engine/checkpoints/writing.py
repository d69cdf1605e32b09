"""Files that are there in full or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = '.partial'
LAST = 'last_checkpoint'


class CheckpointWriteError(OSError):
    """A file that could not be written; the message is one line and names it."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends without an error.

    It is written to ``path`` + '.partial' in the same folder, flushed to the disk and renamed.
    Whatever happens, ``path`` holds either its former content or all of the new one.

    Raises:
        CheckpointWriteError: If the system refuses (disk full, no permission); what was at
            ``path`` is as it was.
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
        raise CheckpointWriteError(
            f'{path} was not written ({error.strerror or error}); {kept}'
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Let the rename itself survive a power failure, where folders can be synchronised."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
