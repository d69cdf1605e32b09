"""Kill a run with SIGKILL, wherever; resumed in a fresh process, it ends bit for bit the same.

Every process is a `tools/train.py CONFIG --resume`, as a job that is started again and again.
"""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from mlic.engine.checkpoints.reading import read_checkpoint
from tests.helpers import ROOT
from tests.tiny_runs import EPOCHS, LENGTH, assert_same_end, two_stage_config

pytestmark = pytest.mark.slow

LAST = EPOCHS * LENGTH
SWITCH = EPOCHS // 2 * LENGTH  # the first iteration of the second stage
RANDOM_KILLS = 20


@HOOKS.register_module()
class KillHook(Hook):
    """End the process without a warning: before or after an iteration's work, or in a save.

    Args:
        iteration (int): Counted from 0.
        where (str): 'before_iter'; 'during_save': after the first bytes of the first checkpoint
            that is written after the iteration; 'before_pointer': with that checkpoint in its
            place, before ``last_checkpoint`` names it; 'after_epoch': all that the epoch's end
            saves is there, and nothing that follows; 'in_validation'.
    """

    priority = 'LOWEST'

    def __init__(self, iteration, where):
        self.iteration = iteration
        self.where = where

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._kill_if('before_iter', runner.iter)

    def after_train_epoch(self, runner):
        self._kill_if('after_epoch', runner.iter)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._kill_if('in_validation', runner.iter)

    def before_save_checkpoint(self, runner, checkpoint):
        if self.where == 'during_save' and runner.iter >= self.iteration:
            # the system ends the process when a file grows beyond this, in the middle of a write
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            log = max(path.stat().st_size for path in Path(runner.work_dir).rglob('*.log'))
            resource.setrlimit(resource.RLIMIT_FSIZE, (log + 20_000, log + 20_000))

        if self.where == 'before_pointer' and runner.iter >= self.iteration:
            os.replace = replace_or_die

    def _kill_if(self, where, iteration):
        if (where, iteration) == (self.where, self.iteration):
            os.kill(os.getpid(), signal.SIGKILL)


def replace_or_die(source, target, replace=os.replace):
    """``os.replace`` of any file but the pointer."""
    if Path(target).name == 'last_checkpoint':
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)


def write_config(folder, kill=None, save_every=None):
    """A tiny config as a file; ``save_every`` iterations, or at the ends of epochs."""
    cfg = two_stage_config(folder / 'run', workers=1, persistent=True)
    cfg.pop('experiment_name')
    if save_every:
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=save_every)
    if kill is not None:
        cfg.custom_imports.imports.append('tests.mlic.engine.test_kill_matrix')
        cfg.custom_hooks.append(dict(type='KillHook', **kill))
    path = folder / f'{"kill" if kill else "config"}.py'
    cfg.dump(str(path))
    return path


def start(config):
    """A job; its output goes to a file next to the config."""
    output = config.with_suffix('.txt').open('w')
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--resume'],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run_to_end(config):
    """A job that nobody ends; what it printed."""
    code = start(config).wait(timeout=600)
    output = config.with_suffix('.txt').read_text()
    assert code == 0, output[-3000:]
    return output


def end_of(folder):
    """The last checkpoint of a run."""
    return read_checkpoint((folder / 'run' / 'last_checkpoint').read_text())


def saved_iteration(folder):
    """Iterations in the newest checkpoint, 0 without one; each under its own name is whole."""
    numbers = [0]
    for path in (folder / 'run').glob('[ei]*.pth'):
        numbers.append(read_checkpoint(path)['meta']['iter'])
    return max(numbers)


@pytest.fixture(scope='module', params=[None, 3], ids=['epochs', 'iterations'])
def straight(request, tmp_path_factory):
    """Save interval and end of the run that nobody kills."""
    folder = tmp_path_factory.mktemp('straight')
    run_to_end(write_config(folder, save_every=request.param))
    return request.param, end_of(folder)


@pytest.mark.parametrize(
    'kill',
    [
        dict(iteration=LENGTH + 1, where='before_iter'),
        dict(iteration=LENGTH - 1, where='during_save'),
        dict(iteration=2 * LENGTH - 1, where='during_save'),
        dict(iteration=LENGTH - 1, where='before_pointer'),
        dict(iteration=2 * LENGTH - 1, where='before_pointer'),
        dict(iteration=LAST - 1, where='before_pointer'),
        dict(iteration=SWITCH, where='after_epoch'),
        dict(iteration=SWITCH, where='in_validation'),
        dict(iteration=SWITCH, where='before_iter'),
        dict(iteration=SWITCH + 1, where='before_iter'),
        dict(iteration=SWITCH + 3, where='before_iter'),
        dict(iteration=LAST, where='in_validation'),
    ],
    ids=lambda kill: f'{kill["where"]}-{kill["iteration"]}',
)
def test_killed_at_a_place_it_ends_the_same(tmp_path, straight, kill):
    save_every, expected = straight
    process = start(write_config(tmp_path, kill, save_every))
    process.wait(timeout=600)
    ended_by = signal.SIGXFSZ if kill['where'] == 'during_save' else signal.SIGKILL
    assert process.returncode == -ended_by, (tmp_path / 'kill.txt').read_text()[-3000:]
    saved = saved_iteration(tmp_path)
    output = run_to_end(write_config(tmp_path, save_every=save_every))
    assert_resumed_from(output, saved)
    assert_same_end(end_of(tmp_path), expected)


def assert_resumed_from(output, saved):
    """The run continued with the newest whole checkpoint."""
    resumed = re.findall(r'resumed epoch: \d+, iter: (\d+)', output)
    assert [int(number) for number in resumed] == ([saved] if saved else [])


def test_killed_at_random_moments_it_ends_the_same(tmp_path, straight):
    save_every, expected = straight
    draw = random.Random(0 if save_every else 1)
    config = write_config(tmp_path, save_every=save_every)
    for _ in range(RANDOM_KILLS // 2):  # as many for each way to save
        saved = saved_iteration(tmp_path)
        process = start(config)
        output = config.with_suffix('.txt')
        while 'Checkpoints will be saved' not in output.read_text() and process.poll() is None:
            time.sleep(0.02)
        # the first moments are as interesting as the last: a run takes about two seconds
        time.sleep(draw.uniform(0, 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        text = output.read_text()
        assert 'Traceback' not in text, text[-3000:]
        assert_resumed_from(text, saved)
        done = len(re.findall(r'Epoch\(train\)', text)) + saved
        assert done - saved_iteration(tmp_path) <= (save_every or LENGTH)
        if saved_iteration(tmp_path) >= LAST:
            compare_and_clear(tmp_path, config, expected)
    compare_and_clear(tmp_path, config, expected)


def compare_and_clear(folder, config, expected):
    """Let the run end, compare, and make room for another."""
    run_to_end(config)
    assert_same_end(end_of(folder), expected)
    for path in (folder / 'run').glob('*'):
        if path.is_file():
            path.unlink()
