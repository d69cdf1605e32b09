"""What tests of several modules need."""

import json
import multiprocessing
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import config as mmengine_config

from mlic.engine.runner.folder_lock import lock_folder

ROOT = Path(__file__).resolve().parents[1]
# what the published code was seen to compute; the small recordings are part of the repository
RECORDINGS = Path(os.environ.get('MLIC_RECORDINGS', ROOT / 'tests' / 'recordings'))
# published data sets and lists of labels, which are not
DATA = Path(os.environ.get('MLIC_DATA', ROOT / 'data'))
DOCUMENTS = sorted(
    path for part in ('', 'docs/', 'projects/*/', 'configs/*/') for path in ROOT.glob(f'{part}*.md')
)
# what lays out the text of a config; the stock mmengine holds it by its name
FORMATTER = (
    'mmengine.config.config.FormatCode'
    if hasattr(mmengine_config, 'FormatCode')
    else 'yapf.yapflib.yapf_api.FormatCode'
)


class Recorder:
    """Leaves a folder behind if it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@lru_cache
def recorded(name):
    """What a file of recordings holds; the test is skipped where the folder lacks it."""
    path = RECORDINGS / name
    if not path.is_file():
        pytest.skip(f'needs {name} in the folder that MLIC_RECORDINGS names')
    if path.suffix == '.json':
        return json.loads(path.read_text())
    with np.load(path) as file:
        return dict(file)


def needs_data(*folders):
    """Mark of a test that reads ``folders`` of the data that MLIC_DATA names."""
    absent = [folder for folder in folders if not (DATA / folder).is_dir()]
    return pytest.mark.skipif(bool(absent), reason=f'needs {absent} in the folder of MLIC_DATA')


def run_tool(tool, *arguments):
    """Run a script of the repository in this process; what ends it, SystemExit too, is raised."""
    with mock.patch.object(sys, 'argv', [str(tool), *map(str, arguments)]):
        runpy.run_path(str(ROOT / tool), run_name='__main__')


def call_tool(tool, *arguments):
    """Run a script in this process: its exit status or message, None for success."""
    try:
        run_tool(tool, *arguments)
    except SystemExit as end:
        return end.code
    return None


def run_process(*command, cwd, **variables):
    """Run a command in a process of its own, with one thread and the Python that runs pytest."""
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'VIRTUAL_ENV': str(binaries.parent),  # where the shell scripts look
        'PATH': f'{binaries}{os.pathsep}{os.environ["PATH"]}',
        **variables,
    }
    command = [str(part) for part in command]
    options = dict(cwd=cwd, env=environment, timeout=600)
    return subprocess.run(command, capture_output=True, text=True, **options)


def run_command(*command, cwd):
    """What a command prints in a process of its own; it must succeed."""
    result = run_process(*command, cwd=cwd)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def run_ranks(number, worker, *arguments):
    """Call ``worker(rank, *arguments)`` in processes that have imported what this one has."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE=str(number))
    with mock.patch.dict(os.environ, address):
        torch.multiprocessing.start_processes(
            _rank, (worker, arguments), nprocs=number, start_method='fork'
        )


def _rank(rank, worker, arguments):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)  # the threads of the forked process are not there
    worker(rank, *arguments)


def code_of(document, language):
    """The text of each block of code of a language in a document of the repository."""
    text = (ROOT / document).read_text(encoding='utf-8')
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


@contextmanager
def memory_below(limit):
    """Fail where Python and numpy take that many bytes or more at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@contextmanager
def locked_elsewhere(folder, with_child=False):
    """Another process has the folder locked; it is killed at the end, as by ``kill -9``.

    Yields it, and the number of a process that it has started, which is not killed.
    """
    fork = multiprocessing.get_context('fork')
    receiver, sender = fork.Pipe(duplex=False)

    def hold():
        lock = lock_folder(folder)
        child = os.fork() if with_child else None
        if child != 0:
            sender.send(child)
        time.sleep(600)
        lock.close()

    process = fork.Process(target=hold)
    process.start()
    try:
        yield process, receiver.recv()
    finally:
        process.kill()
        process.join()
