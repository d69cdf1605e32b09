"""Two processes never write the same run."""

import os
from pathlib import Path
from typing import TextIO

from mlic.files import FileWriteError


class FolderInUseError(RuntimeError):
    """A folder that another process has locked; the message is one line and names it."""


def lock_folder(folder: str | Path) -> TextIO | None:
    """Lock a folder for this process, by a file ``.lock`` in it that stays there.

    The system takes the lock back when the file that is returned is closed or the process ends,
    however it ends; processes that it has started, such as loaders' workers, do not hold it.

    Args:
        folder (str | Path): Made if it is not there.

    Returns:
        TextIO: What must stay open as long as the lock is needed; None where the system or the
            disk knows no locks.

    Raises:
        FileWriteError: If the folder cannot be made, or is read-only.
        FolderInUseError: If another process, on any machine that shares the disk, has the lock.
    """
    if os.name != 'posix':
        return None
    import fcntl

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = Path(folder, '.lock').open('a')  # noqa: SIM115, open as long as the process lives
    except FileExistsError as error:
        raise FileWriteError(f'{folder} is not a folder') from error
    except OSError as error:
        raise FileWriteError(f'nothing can be written to {folder} ({error.strerror})') from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # the two that say it is locked
        file.close()
        raise FolderInUseError(f'{folder} is in use by another process that is running') from error
    except OSError:
        file.close()
        return None
    return file
