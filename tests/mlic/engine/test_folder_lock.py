"""Two runs never write the same work directory, and a run that died does not keep it."""

import errno
import fcntl
import os
import signal

import pytest

from mlic.cli import train
from mlic.engine.runner.folder_lock import FolderInUseError, lock_folder
from mlic.engine.runner.tool_runners import ConsoleRunner, TrainingRunner
from mlic.files import FileWriteError
from tests.helpers import ROOT, call_tool, locked_elsewhere, run_process
from tests.tiny_runs import two_stage_config


def write_config(folder):
    cfg = two_stage_config(folder / 'work')
    cfg.pop('experiment_name')
    cfg.dump(str(folder / 'config.py'))
    return folder / 'config.py'


def test_a_folder_of_another_process_is_refused_until_it_is_killed(tmp_path):
    with locked_elsewhere(tmp_path):
        with pytest.raises(FolderInUseError, match=str(tmp_path)):
            lock_folder(tmp_path)
        (tmp_path / 'other').mkdir()
        lock_folder(tmp_path / 'other').close()
    lock_folder(tmp_path).close()


def test_a_process_that_a_dead_run_has_started_does_not_hold_its_folder(tmp_path):
    """A loader's worker outlives a killed run by seconds."""
    with locked_elsewhere(tmp_path, with_child=True) as (process, child):
        try:
            with pytest.raises(FolderInUseError):
                lock_folder(tmp_path)
            process.kill()
            process.join()
            lock_folder(tmp_path).close()
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    assert lock_folder(tmp_path) is None


def test_a_folder_that_cannot_be_written_into_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(FileWriteError, match=f'^{tmp_path}/file is not a folder$'):
        lock_folder(tmp_path / 'file')
    long = tmp_path / ('x' * 300)
    with pytest.raises(FileWriteError, match=f'^nothing can be written to {long} .File name too'):
        lock_folder(long)


def test_a_training_that_ended_leaves_its_folder_to_other_processes(tmp_path, monkeypatch):
    """As in a notebook, whose process and runner stay."""

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ConsoleRunner, 'train', interrupted)
    runner = object.__new__(TrainingRunner)
    lock = runner._lock = lock_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert lock.closed
    runner._work_dir = str(tmp_path)
    with locked_elsewhere(tmp_path), pytest.raises(FolderInUseError, match='in use by another'):
        runner.train()


@pytest.mark.slow
def test_a_second_training_in_a_work_directory_ends_in_one_line(tmp_path):
    config = write_config(tmp_path)
    with locked_elsewhere(tmp_path / 'work'):
        for more in ([], ['--resume']):
            message = call_tool('tools/train.py', config, *more)
            assert message == (
                f'error: {tmp_path}/work is in use by another process that is running: wait until '
                'it ends, or choose another --work-dir'
            )
        assert os.listdir(tmp_path / 'work') == ['.lock']
        # what only reads, and what trains elsewhere, continues
        train.main([str(config), '--dry-run'])
        train.main([str(config), '--work-dir', str(tmp_path / 'other')])
    assert (tmp_path / 'other' / 'last_checkpoint').is_file()
    train.main([str(config)])
    assert (tmp_path / 'work' / 'last_checkpoint').is_file()


@pytest.mark.slow
@pytest.mark.dist
def test_the_ranks_of_a_run_share_its_lock_and_its_refusal(tmp_path):
    config = write_config(tmp_path)
    command = [ROOT / 'tools/dist_train.sh', config, 2]
    with locked_elsewhere(tmp_path / 'work'):
        result = run_process(*command, cwd=ROOT)
    assert result.returncode and 'is in use by another process' in result.stderr
    assert 'Traceback (most recent call last)' not in result.stderr.split('error (rank')[0]
    assert os.listdir(tmp_path / 'work') == ['.lock']
    result = run_process(*command, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / 'work' / 'last_checkpoint').is_file()
