"""The processes that a comparison starts: how many, where, and that they end with it."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import torch

from mlic.cores import usable_cores

ONE_THREAD = {f'{name}_NUM_THREADS': '1' for name in ('OMP', 'MKL', 'OPENBLAS')}


class Processes:
    """Commands that several threads run at once; after the end none is started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._ended = False

    def call(self, command: Sequence[str], **kwargs) -> int:
        """Run a command; returns its exit status.

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

    def end(self, patience: float) -> None:
        """Ask those that run to end, as SIGTERM does.

        Args:
            patience (float): Seconds in which those end that have heard Ctrl+C, too: a second
                signal would break into their end.
        """
        with self._lock:
            self._ended = True
            running = list(self._running)
        until = time.monotonic() + patience
        try:
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(until - time.monotonic(), 0))
        finally:
            for process in running:
                process.terminate()


def device_slots(jobs: int | None) -> list[dict]:
    """Environments of the processes: one per GPU, else one per free core with one thread each.

    Args:
        jobs (int, optional): How many processes; several share a GPU. None: as many as there are
            GPUs, or cores that nobody uses (by the load of the last minute), at least one.
    """
    num_gpus = torch.cuda.device_count()
    if num_gpus:
        # numbers, UUIDs or MIG slices that this process was given, by the names it was given them
        given = os.environ.get('CUDA_VISIBLE_DEVICES')
        names = given.split(',') if given else list(map(str, range(num_gpus)))
        return [
            {'CUDA_VISIBLE_DEVICES': names[i % num_gpus].strip()} for i in range(jobs or num_gpus)
        ]
    return [ONE_THREAD] * (jobs or max(1, usable_cores() - round(os.getloadavg()[0])))
