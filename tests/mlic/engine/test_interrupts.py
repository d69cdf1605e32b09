"""What ends a tool from outside: Ctrl+C, a killed loader's worker, shared memory that is full."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from mlic.engine.runner.errors import one_line_errors
from mlic.engine.shortages import say_shortage
from mlic_command import end_by_sigterm
from tests.helpers import FORMATTER, ROOT

WAIT = """
import os, time
from mlic.engine import one_line_errors
with one_line_errors():
    os.write(1, b'ready\\n')  # at once: two processes may share the pipe
    time.sleep(60)
"""
SWALLOW = """
import os, time
try:
    os.write(1, b'ready\\n')
    time.sleep(60)
except BaseException:
    pass
"""
WRITER = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from torch.utils.data import DataLoader
from mlic.files import atomic_write

def hear_it_again(path, remove=os.unlink):
    os.unlink = remove
    signal.raise_signal(signal.SIGTERM)
    remove(path)

def main(argv):
    print('half way')
    main.batches = iter(DataLoader(range(99), num_workers=2))
    with atomic_write(Path(__file__).with_name('result')) as file:
        file.write(b'half')
        fork = multiprocessing.get_context('fork')
        copy = fork.Process(target=signal.raise_signal, args=[signal.SIGTERM])
        copy.start()
        copy.join()
        print('a copy was ended by', -copy.exitcode)
        os.unlink = hear_it_again
        print('ready', file=sys.stderr, flush=True)
        time.sleep(60)
"""
KILL = """
import os, signal
from torch.utils.data import DataLoader, Dataset
from mlic.engine import one_line_errors

class Deadly(list):
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

with one_line_errors():
    for batch in DataLoader(Deadly(range(8)), batch_size=1, num_workers=1):
        pass
"""
FILL = """
import torch
from torch.utils.data import DataLoader
from mlic.engine import one_line_errors
with one_line_errors():
    images = torch.zeros(16, 3, 1000, 1000)
    for batch in DataLoader(images, batch_size=4, num_workers=1):
        pass
"""


def python(code, **options):
    return subprocess.Popen(
        [sys.executable, '-c', code], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT)}, **options,
    )  # fmt: skip


def test_ctrl_c_ends_in_one_line_with_status_130():
    with python(WAIT) as process:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == 'interrupted\n'


def test_sigterm_ends_a_tool_as_ctrl_c_does(tmp_path, monkeypatch):
    """What schedulers and containers send: lines were lost, and half-written files stayed.

    Some, as timeout does, send it to a loader's workers, too, and compare.py sends it again.
    """
    (tmp_path / 'writer.py').write_text(WRITER)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
    code += "from mlic_command import run\nrun('writer')"
    with python(code, start_new_session=True) as process:
        assert process.stderr.readline() == 'ready\n'
        os.killpg(process.pid, signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and errors == 'interrupted\n'
    assert said == f'half way\na copy was ended by {signal.SIGTERM:d}\n'
    assert [path.name for path in tmp_path.iterdir() if path.name != '__pycache__'] == ['writer.py']


def test_ctrl_c_that_a_library_takes_for_an_error_is_one(monkeypatch, capsys):
    """mmengine does while it formats a config, which takes a second."""

    def press(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(FORMATTER, press)
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended, one_line_errors():
            Config(dict(a=1)).dump()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == 130 and capsys.readouterr().err == 'interrupted\n'


class Deaf(list):
    """Ctrl+C comes where Python cannot pass it on, as while a loader starts its workers."""

    def __del__(self):
        raise KeyboardInterrupt(*self)


@pytest.mark.parametrize('worker_ends_first', [False, True])
@pytest.mark.parametrize('sent, status', [([], 130), ([143], 143)])
def test_a_signal_that_python_cannot_pass_on_ends_a_tool(
    worker_ends_first, sent, status, monkeypatch, capsys
):
    """It was lost, or the workers, which a terminal sends it to as well, were said to be killed."""
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        end_by_sigterm()
        with pytest.raises(SystemExit) as ended, one_line_errors():
            Deaf(sent)
            if worker_ends_first:
                raise RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly')
            time.sleep(10)
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
    assert ended.value.code == status and capsys.readouterr().err == 'interrupted\n'


def test_ctrl_c_that_ends_a_worker_before_the_run_is_one(monkeypatch, capsys):
    """torch's signal handler says that it exited while Ctrl+C is under way."""

    def fail():
        raise RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly')

    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended, one_line_errors():
            try:
                raise KeyboardInterrupt
            finally:
                fail()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == 130 and capsys.readouterr().err == 'interrupted\n'


def test_an_error_while_an_interrupted_run_saves_is_not_hidden_by_ctrl_c():
    """What a hook of one's own writes last, for example."""

    def save():
        raise LookupError('no place to write to')

    with pytest.raises(LookupError), one_line_errors():
        try:
            raise KeyboardInterrupt
        finally:
            save()
    with pytest.raises(KeyError), one_line_errors():
        try:
            raise KeyboardInterrupt
        finally:
            {}['name of the file']


def test_an_error_that_is_raised_from_itself_ends():
    """Its causes are a ring, which was followed without end."""
    with pytest.raises(KeyError), one_line_errors():
        try:
            {}['a']
        except KeyError as error:
            raise error from error


def test_a_config_that_cannot_be_formatted_is_one_line(monkeypatch):
    monkeypatch.setattr(FORMATTER, None)  # which cannot be called
    with pytest.raises(SystemExit) as ended, one_line_errors():
        Config(dict(a=1, b='long' * 1000)).dump()
    assert str(ended.value).startswith('error: Failed to format the config file')
    assert len(str(ended.value)) < 100


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    'imported, code',
    [
        ('torch', 'import runpy; runpy.run_path("tools/train.py", run_name="__main__")'),
        ('torch', 'from mlic_command import main; main(["train"])'),
        ('own_tool', 'from mlic_command import run; run("own_tool")'),
    ],
)
def test_ctrl_c_while_a_tool_is_imported_ends_in_one_line(imported, code, number, tmp_path):
    """Imports take seconds, in which most people press it; libraries may take it for a fault."""
    (tmp_path / f'{imported}.py').write_text(SWALLOW)
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}'
    with python(code) as process:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number and errors == 'interrupted\n'


def test_a_killed_worker_is_named_with_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    with python(KILL) as process:
        _, errors = process.communicate(timeout=120)
    line = errors.strip().splitlines()[-1]
    assert process.returncode == 1 and 'Traceback' not in errors
    assert line.startswith('error: a worker of a data loader (process ')
    assert 'was killed' in line and 'num_workers' in line
    # torch then probes for too many open files, and its signal handler may cut that short
    assert all(left.is_file() and not left.stat().st_size for left in tmp_path.iterdir())


def test_an_error_raised_over_that_of_a_worker_does_not_hide_it():
    """torch's signal handler raises in whatever runs, which may raise something else over it."""
    with pytest.raises(SystemExit, match='was killed.*num_workers'), one_line_errors():
        try:
            raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
        except RuntimeError:
            raise IndexError('too many indices for tensor of dimension 1')  # noqa: B904


@pytest.mark.parametrize(
    'message',
    [
        'unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device',
        'unable to open shared memory object </torch_1_2> in read-write mode: Too many open files',
        'unable to write to file </torch_1_2_0>: No space left on device (28)',
        'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that …',
    ],
)
def test_every_word_of_torch_for_full_shared_memory_has_the_hint(message):
    with pytest.raises(SystemExit, match='no shared memory.*num_workers, or 0'), one_line_errors():
        raise RuntimeError(f'Caught RuntimeError in DataLoader worker process 0.\n{message}')


@pytest.mark.parametrize(
    'error, says',
    [
        (MemoryError(), r'not enough memory \(MemoryError\): use smaller batches or fewer workers'),
        (RuntimeError("[fail] can't allocate memory: you tried"), 'not enough memory .*you'),
        (torch.OutOfMemoryError('CUDA out of memory. Tried 9 GiB'), 'not enough.*9 GiB'),
        (cv2.error('(-4:Insufficient memory) Failed to allocate 9 bytes'), 'not enough.*9 bytes'),
        (RuntimeError("can't start new thread"), 'no further process or thread .*ulimit -u'),
        (BlockingIOError(11, 'Resource temporarily unavailable'), 'no further .*ulimit -u'),
        (OSError(24, 'Too many open files', 'a.jpg'), r"Too many open files: 'a\.jpg'.*ulimit -n"),
    ],
)
def test_a_shortage_of_the_machine_is_one_line_that_says_what_to_do(error, says):
    library, ours = dict(__name__='library', error=error), dict(__name__='mlic.ours', error=error)
    exec('def fail():\n    raise error', library)
    exec('def fail():\n    raise ValueError("a.jpg cannot be read") from error', ours)
    with pytest.raises(SystemExit, match=f'^error: .*{says}'), one_line_errors():
        library['fail']()
    with pytest.raises(SystemExit, match=r'^error: a\.jpg cannot be read$'), one_line_errors():
        ours['fail']()


@pytest.mark.parametrize(
    'error',
    [
        KeyError('out of memory'),
        PermissionError(13, 'Permission denied', 'bad_alloc/run.pth'),
        BlockingIOError(11, 'write could not complete without blocking', 0),
    ],
)
def test_a_name_or_a_slow_terminal_is_no_shortage_of_the_machine(error):
    assert say_shortage(error) is None


def test_too_little_memory_to_import_is_one_line():
    """Such as the limit of a cluster's login node, where torch's libraries cannot be mapped."""
    limit = [resource.RLIMIT_AS, (2**30, 2**30)]
    result = subprocess.run(
        [sys.executable, 'tools/infer.py', '--help'], cwd=ROOT, text=True, capture_output=True,
        timeout=120, preexec_fn=lambda: resource.setrlimit(*limit), check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert re.fullmatch('error: not enough memory to import .*\n', result.stderr)


def test_other_words_about_shared_memory_are_left_alone():
    elsewhere = dict(__name__='triton.runtime')
    exec('def fail():\n    raise RuntimeError("out of resource: shared memory")', elsewhere)
    with pytest.raises(RuntimeError, match='out of resource'), one_line_errors():
        elsewhere['fail']()


def test_small_shared_memory_ends_in_one_line():
    mount = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    inside = ['unshare', '-rm', 'sh', '-c', mount, 'sh']
    if not shutil.which('unshare') or subprocess.run([*inside, 'true'], check=False).returncode:
        pytest.skip('this machine allows no mounts')
    result = subprocess.run(
        [*inside, sys.executable, '-c', FILL], cwd=ROOT, text=True, capture_output=True,
        timeout=120, env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    # up to 2.9 at least, torch asks for no memory beforehand: its worker ends with a line and a NUL
    *of_worker, line = result.stderr.strip().splitlines()
    assert all(one.startswith('ERROR: Unexpected bus error') for one in of_worker)
    assert re.match('\0?error: (a worker|the workers) of a data loader', line)
    assert '/dev/shm' in line and 'use fewer workers' in line


@pytest.mark.slow
@pytest.mark.dist
def test_ctrl_c_under_torchrun_ends_in_one_line(tmp_path):
    """The terminal sends it to all processes, and torchrun passes it on to the ranks again."""
    script = tmp_path / 'there' / 'wait.py'
    script.parent.mkdir()
    (tmp_path / 'random.py').write_text('raise SystemExit("a module of the working directory")')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    environment['VIRTUAL_ENV'] = str(Path(sys.executable).parent.parent)
    environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    script.write_text(WAIT)
    with subprocess.Popen(
        [ROOT / 'tools' / 'torchrun.sh', '2', script], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert [process.stdout.readline() for _ in range(2)] == ['ready\n'] * 2
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if not re.match(r'W\d{4} ', line)]
    assert process.returncode == 130 and lines == ['interrupted']
