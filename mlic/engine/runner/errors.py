"""Errors in one line, where the message was made for people."""

import atexit
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import pairwise
from multiprocessing.util import get_temp_dir
from urllib.error import HTTPError, URLError

import torch
import torch.distributed as torch_dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from mlic.engine.checkpoints.initial_weights import INSTEAD_OF_A_DOWNLOAD
from mlic.installation import methods_hidden_by
from mlic.names import in_one_line, reason_of

from ..config.entries import describe_entry
from ..config.errors import (
    LIBRARIES,
    UNREGISTERED,
    describe_fault,
    is_of_config,
    module_of,
    registered,
)
from ..shortages import WORKER_ENDED, raised_over, say_shortage, what_ended_workers

_unraised: list[BaseException] = []  # of workers that ended
_again: list[threading.Timer] = []  # each brings back a Ctrl+C that Python could not pass on
INTERRUPTED = 130  # the exit status that shells give Ctrl+C


@contextmanager
def one_line_errors() -> Iterator[None]:
    """The way in which every tool ends; a decorator of its ``main``.

    The exit status is 0 if all was done, 1 if something was wrong, 2 (argparse's) for usage, and
    130 after Ctrl+C (143 after SIGTERM). What was wrong is one line on stderr, ``error: …``, where
    the message was made for people: errors that were raised in ``mlic``, ``projects`` or another
    package that has registered something with mmpretrain, such as a user's own method, by a line
    that raises or asserts; errors of the system about files; modules that cannot be imported; a
    config's syntax, an argument in it that there is not or that is missing, and what mmengine
    cannot build from it, or what a library does not take there; a loader's workers that were
    killed; too little memory. What else goes wrong keeps its traceback. A reader that has read
    enough, such as head, ends a tool without a message.

    Under torchrun the error of the rank that failed first is repeated at the end. Where nothing
    went wrong, the process group is left in order.

    Raises:
        SystemExit: With the message, and the rank where there are several.
    """
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:  # closed by what started this, such as a daemon
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), 'w'))
    if hasattr(sys.stdout, 'reconfigure'):  # a name that the terminal cannot show ends nothing
        sys.stdout.reconfigure(errors='backslashreplace')
    sys.unraisablehook = _hear
    with suppress(OSError):
        get_temp_dir()  # loaders' workers share it; one of their own would stay when they are ended
    try:
        yield
        sys.stdout.flush()
    except SystemExit as end:
        if not isinstance(end.code, str) or end.code.startswith('error'):
            raise
        _record(end)
        sys.exit(_one_line(end.code))
    except KeyboardInterrupt as interrupt:
        _end_interrupted(interrupt)
    except Exception as error:
        if _was_interrupted(error):
            _end_interrupted(error)
        if os.name == 'posix' and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise in here
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(1)
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        raised_in = module_of(frame)
        # a collective fails because another rank has: that one's error is the reason
        is_victim = raised_in.startswith('torch.distributed.')
        if not is_victim:
            _record(error)
        workers = what_ended_workers(error) or what_ended_workers(_ended_worker(error))
        if workers:
            if _again or any(isinstance(one, KeyboardInterrupt) for one in raised_over(error)):
                _end_interrupted(error)  # a terminal sends it to the workers, too
            sys.exit(_one_line(workers))
        is_told = _is_for_people(error, raised_in)
        words = str(error).strip() if is_told else describe_entry(error, _packages())
        if words is None or type(error) in (OSError, BlockingIOError):
            words = say_shortage(error) or words
        if words is None and is_of_config(error, raised_in):
            words = reason_of(error)
        if words is None:
            raise
        sys.exit(_one_line(_describe(error, words) or type(error).__name__))
    if torch_dist.is_available() and torch_dist.is_initialized():
        _leave_process_group()


def _record(error: BaseException) -> None:
    """Let torchrun repeat the error at the end, if it is the first."""
    if 'TORCHELASTIC_ERROR_FILE' in os.environ:
        get_error_handler().record_exception(error)


def _end_interrupted(error: BaseException) -> None:
    """End as after Ctrl+C, or with the status that an interrupt brings."""
    heard = [128 + timer.args[1] for timer in _again]
    while _again:
        _again.pop().cancel()
    # a library may have raised an interrupt of its own over that of SIGTERM
    status = max([*map(_status_of, raised_over(error)), *heard])
    for number in {signal.SIGINT, status - 128}:  # sent again, it ends a slow end at once
        signal.signal(number, signal.SIG_DFL)
    if os.name == 'posix':  # workers may have got it, too: torch's handler would raise at exit
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if 'TORCHELASTIC_RUN_ID' not in os.environ:  # torchrun.sh says it once for all ranks
        sys.stderr.write('interrupted\n')
    sys.exit(status)


def _status_of(error: BaseException) -> int:
    """The status that an interrupt brings; without one, it is Ctrl+C's."""
    numbers = error.args if isinstance(error, KeyboardInterrupt) else ()
    return next((number for number in numbers if isinstance(number, int)), INTERRUPTED)


def _was_interrupted(error: BaseException) -> bool:
    """Whether a library took Ctrl+C for something else, with ``except:``, and raised that.

    Who takes it so raises in the very function that the other came to; what fails deeper, such as
    the writing of a last file, or without a ``raise``, is an error of its own.
    """
    for later, earlier in pairwise(raised_over(error)):
        last = traceback.extract_tb(later.__traceback__)[-1:]
        frames = [frame for frame, _ in traceback.walk_tb(later.__traceback__)]
        came_to = getattr(earlier.__traceback__, 'tb_frame', None)
        if not frames or frames[-1] is not came_to or not (last[0].line or '').startswith('raise'):
            return False
        if isinstance(earlier, KeyboardInterrupt):
            return True
    return False


def _ended_worker(error: Exception) -> Exception | None:
    """What torch says, or would say, of a worker whose end shows as another error first."""
    if _unraised:
        return _unraised.pop()
    modules = (module_of(frame) for frame, _ in traceback.walk_tb(error.__traceback__))
    if any(name.startswith(('torch.utils.data', 'multiprocessing')) for name in modules):
        for _ in range(20):  # the pipe breaks before the system has counted the process as ended
            try:
                torch._C._error_if_any_worker_fails()
            except RuntimeError as ended:
                return ended
            time.sleep(0.05)
    return None


def _hear(unraisable: 'sys.UnraisableHookArgs') -> None:
    """Keep what handlers of signals raise where Python cannot pass it on: in __del__, at a fork.

    Ctrl+C, or the signal whose status an interrupt brings, comes again a little later.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and os.name == 'posix':
        again = (threading.main_thread().ident, _status_of(unraisable.exc_value) - 128)
        _again.append(threading.Timer(0.1, signal.pthread_kill, again))
        with suppress(RuntimeError):  # where Python is at its end, it starts no thread
            _again[-1].start()
    elif WORKER_ENDED.search(str(unraisable.exc_value)):
        _unraised.append(unraisable.exc_value)
    else:
        sys.__unraisablehook__(unraisable)


def _nobody_reads() -> bool:
    """Whether standard output is a closed pipe; what is left then goes nowhere."""
    try:
        sys.stdout.flush()
        closed = _has_hung_up()
    except BrokenPipeError:
        closed = True
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _has_hung_up() -> bool:
    """Whether the system says so: without a buffer (PYTHONUNBUFFERED) there is nothing to flush."""
    if not hasattr(select, 'poll'):  # as on Windows
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except OSError:  # it is no file of the system
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


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


def _packages() -> set[str]:
    """Ours, and the others that have registered something and are no libraries."""
    modules = (cls.__module__ for cls in registered().values())
    return {'mlic', 'projects', *(name.split('.')[0] for name in modules)} - LIBRARIES


def _is_for_people(error: Exception, raised_in: str) -> bool:
    """Whether the message alone says what to do."""
    if isinstance(error, (ImportError, OSError, SyntaxError)) or UNREGISTERED.search(str(error)):
        return True
    packages = _packages()
    if type(error).__module__.split('.')[0] in packages:
        return True
    kinds = (AssertionError, RuntimeError, TypeError, ValueError)
    if raised_in.split('.')[0] not in packages or not isinstance(error, kinds) or not str(error):
        return False
    line = traceback.extract_tb(error.__traceback__)[-1].line  # '' without a source
    return not line or re.search(r'\b(raise|assert)\b', line) is not None


def _one_line(text: str) -> str:
    """A message as a tool's last line; of an error in a loader's worker, its traceback's last."""
    if 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    several = os.environ.get('WORLD_SIZE', '1') != '1' and 'RANK' in os.environ
    where = f' (rank {os.environ["RANK"]})' if several else ''
    return f'error{where}: {in_one_line(text, 4000)}'


def _describe(error: Exception, words: str) -> str:
    """What is wrong and what to do, such as with a file that is not there; else those words."""
    if isinstance(error, ImportError) and 'projects' in str(error) and methods_hidden_by():
        return f'{methods_hidden_by()} hides the methods of mlic: take its folder off the path'
    cause = error
    while cause.__context__:
        cause = cause.__context__
    if isinstance(error, ImportError) and isinstance(cause, ModuleNotFoundError):
        if not str(cause.name).startswith('projects'):  # what a method itself imports
            if cause is error:
                return str(cause)
            return f'{cause}: is it installed, or its folder in PYTHONPATH?'
        return (
            f'{cause.name} cannot be imported: set PYTHONPATH to the folder that has projects/, or '
            'correct custom_imports'
        )
    if isinstance(error, SyntaxError):  # mmengine parses a config without its name
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
        names = [str(frame.get('filename')) for frame in frames]
        file = next((name for name in reversed(names) if name.endswith('.py')), error.filename)
        where = f'{file}, line {error.lineno}: ' if error.lineno else ''
        return f'{where}{error.msg}'.splitlines()[0]  # without a config as text
    if isinstance(error, HTTPError):
        return f'{error.url} could not be downloaded: {error}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, URLError):
        return f'a file could not be downloaded: {error.reason}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist'
    if isinstance(error, OSError) and error.errno in (EDQUOT, EFBIG, ENOSPC) and not error.filename:
        where = 'Free some, also for temporary files (TMPDIR), or write elsewhere'
        return f'{error.strerror}: a file could not be written. {where}'
    return describe_fault(error) or words
