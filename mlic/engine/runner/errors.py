"""Errors in one line, where the message was made for people."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError

import torch.distributed as torch_dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

# modules whose messages are made for people; a user's own method is one of them
OURS = ('mlic', 'projects')
INSTEAD_OF_A_DOWNLOAD = (
    'Without a network, get it elsewhere and give its path: init_cfg.checkpoint for a backbone, '
    'load_from for a model'
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End a tool with one line and exit status 1 where the message was made for people.

    Those are this package's own errors and the system's about files; what else goes wrong keeps
    its traceback. Under torchrun the error of the rank that failed first is repeated at the end.
    Where nothing went wrong, the process group is left in order.

    Raises:
        SystemExit: With the message, and the rank where there are several.
    """
    try:
        yield
    except Exception as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        raised_in = frame.f_globals.get('__name__', '')
        # a collective fails because another rank has: that one's error is the reason
        is_victim = raised_in.startswith('torch.distributed.')
        if 'TORCHELASTIC_ERROR_FILE' in os.environ and not is_victim:
            get_error_handler().record_exception(error)
        if not _is_for_people(error, raised_in):
            raise
        sys.exit(_one_line(error))
    if torch_dist.is_available() and torch_dist.is_initialized():
        _leave_process_group()


def _leave_process_group() -> None:
    """Leave the group; under torchrun with gloo the process ends here, with status 0.

    DDP keeps gloo's threads alive to the end of the process. One that still lets go of a tensor
    then asks for the interpreter's lock, and Python before 3.14 ends a thread that asks while the
    interpreter shuts down: C++ answers with an abort, after all the work was done. So the exit
    handlers run, and the interpreter's own end, which only frees memory, is left out.
    """
    ends_here = torch_dist.get_backend() == 'gloo' and 'TORCHELASTIC_RUN_ID' in os.environ
    torch_dist.destroy_process_group()
    if ends_here:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _is_for_people(error: Exception, raised_in: str) -> bool:
    """Whether the message alone says what to do."""
    if isinstance(error, OSError) or type(error).__module__.split('.')[0] in OURS:
        return True
    is_ours = raised_in.split('.')[0] in OURS
    return is_ours and isinstance(error, (RuntimeError, TypeError, ValueError))


def _one_line(error: Exception) -> str:
    """The message; of an error in a loader's worker, the last line of the worker's traceback."""
    text = _describe(error)
    if 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    several = os.environ.get('WORLD_SIZE', '1') != '1' and 'RANK' in os.environ
    where = f' (rank {os.environ["RANK"]})' if several else ''
    return f'error{where}: {" ".join(text.split()) or type(error).__name__}'


def _describe(error: Exception) -> str:
    """The message; of a file that is not there or not reached, what it is and what to do."""
    if isinstance(error, HTTPError):
        return f'{error.url} could not be downloaded: {error}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, URLError):
        return f'a file could not be downloaded: {error.reason}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist'
    return str(error).strip()
