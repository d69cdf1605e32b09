"""The processes that a comparison starts end with it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Processes:
    """Commands that several threads run at once; after the end none is started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._ended = False

    def call(self, command: Sequence[str], **kwargs) -> int:
        """Run a command; returns its exit status.

        Args:
            command (Sequence[str]): Program and arguments.
            **kwargs: As ``subprocess.Popen``'s.

        Raises:
            InterruptedError: After the end.
        """
        with self._lock:
            if self._ended:
                raise InterruptedError('the comparison was stopped')
            process = subprocess.Popen(command, **kwargs)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """Ask those that run to end, as SIGTERM does."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


@contextmanager
def end_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit in the main thread, with a shell's status, 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
