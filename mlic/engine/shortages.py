"""What the machine is short of: memory, processes, open files; by the words of any library."""

import errno
import os
import re
from collections.abc import Iterator

from mlic.names import reason_of

# what torch says of a loader's worker that has ended, and of memory that workers cannot share
WORKER_ENDED = re.compile(r'DataLoader worker \(pid\S* (.+?)\) (?:is killed by signal|exited)')
NO_SHARED_MEMORY = re.compile(r'DataLoader worker .* Bus error|unable to .{1,40} </torch_\w+>')
FEWER_WORKERS = 'fewer workers (num_workers, or 0 for none)'
# torch's words on a CPU (two systems), on a GPU and for a file, the system's, OpenCV's, C++'s
NO_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|cannot allocate memory|"
    'insufficient memory|bad_?\\s?alloc|failed to map segment',
    re.IGNORECASE,
)


def raised_over(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it was raised over, and so on; ``raise error from error`` is a ring."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def what_ended_workers(error: BaseException | None) -> str | None:
    """Why a loader's workers ended, if they did; torch says so anywhere in the main process.

    Its signal handler raises in whatever runs then, which may raise something else over it.
    """
    for one in raised_over(error):
        text = str(one)
        ended = WORKER_ENDED.search(text)
        if NO_SHARED_MEMORY.search(text):
            return (
                'the workers of a data loader have no shared memory left (/dev/shm): use '
                f'{FEWER_WORKERS}, or give the container more (docker run --shm-size=8g)'
            )
        if ended:
            return (
                f'a worker of a data loader (process {ended[1]}) was killed, probably because '
                f'memory or shared memory (/dev/shm) ran out: use {FEWER_WORKERS}'
            )
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether a library says that memory, of the machine or of a GPU, ran out.

    A file, a key or a class may have such a name.
    """
    if isinstance(error, (LookupError, TypeError, ValueError)):
        return False
    words = getattr(error, 'strerror', None) or str(error)  # the system's, without the file
    return isinstance(error, MemoryError) or NO_MEMORY.search(words) is not None


def say_shortage(error: BaseException) -> str | None:
    """What people do about a shortage; None if the error is, and was raised over, none."""
    for one in raised_over(error):
        reason = reason_of(one)
        if is_lack_of_memory(one):
            return (
                f'not enough memory ({reason}): use smaller batches or fewer workers, or a machine '
                'with more'
            )
        no_process = isinstance(one, BlockingIOError) and one.strerror == os.strerror(errno.EAGAIN)
        if no_process or "can't start new thread" in reason:  # and not a terminal that is slow
            return (
                f'no further process or thread can be started ({reason}): use fewer workers, or '
                'raise the limit of processes (ulimit -u)'
            )
        if isinstance(one, OSError) and one.errno in (errno.EMFILE, errno.ENFILE):
            return f'{reason}: use fewer workers, or raise the limit (ulimit -n)'
    return None
