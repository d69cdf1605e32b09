"""A run takes its own files, and of those only what lies on its way: not another run's, nor what
it had saved beyond the checkpoint that it was resumed from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from mlic.cli import train as train_tool
from mlic.engine.checkpoints.launches import Launch, Position, find_of_run, parse_launches
from mlic.engine.checkpoints.reading import CheckpointError, read_checkpoint
from mlic.engine.checkpoints.search import find_checkpoint, find_resumable
from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from tests.helpers import call_tool
from tests.tiny_runs import make_runner, toy_loader, two_stage_config


class Killed(Exception):
    """The end of a run, at the start of an epoch."""


class KillAt(Hook):
    """End a run before an epoch, counted from 0."""

    priority = 'LOWEST'

    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise Killed


@HOOKS.register_module()
class BestStage(StageRestartHook):
    """A second stage that changes nothing."""


def train(folder, scores, resume=None, kill=None, kept=-1, **changes):
    """A run with a validation after each epoch, to its end or to its death; returns the runner."""
    checkpoint = dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=kept)
    checkpoint.update(save_best='mAP', rule='greater')
    settings = dict(
        epochs=4,
        default_hooks=dict(checkpoint=checkpoint),
        val_dataloader=toy_loader([0.0] * 2),
        val_cfg={},
        val_evaluator=dict(type='ToyMetric', scores=scores),
        **(dict(load_from=str(resume), resume=True) if resume else {}),
    )
    runner, _ = make_runner(folder, **{**settings, **changes})
    runner.register_hook(KillAt(kill))
    if kill is None:
        runner.train()
    else:
        with pytest.raises(Killed):
            runner.train()
    return runner


def contents(folder, pattern='*.pth'):
    """Bytes of each file."""
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


@pytest.fixture
def finished(tmp_path):
    """Work directories of two runs whose files have the same names; 50 and 70 were the best."""
    for name, score in (('a', 50.0), ('b', 70.0)):
        train(tmp_path / name, [10.0, score, 20.0, 30.0])
    return tmp_path / 'a/work', tmp_path / 'b/work'


def best_path(runner):
    """What the checkpoint hook takes for the best."""
    return next(hook.best_ckpt_path for hook in runner.hooks if hasattr(hook, 'best_ckpt_path'))


@pytest.mark.parametrize('kept', [-1, 1])
def test_the_files_of_another_run_in_the_folder_are_neither_taken_nor_deleted(finished, kept):
    ours, theirs = finished
    before = contents(theirs)
    # 60 is better than the best of ours so far
    runner = train(theirs.parent, [60.0, 0.0], resume=ours / 'epoch_2.pth', kept=kept)
    after = contents(theirs)
    assert best_path(runner) == str(theirs / 'best_mAP_epoch_3.pth')
    for name in ('epoch_1.pth', 'epoch_2.pth', 'best_mAP_epoch_2.pth'):
        assert after[name] == before[name]
    assert (theirs / 'epoch_3.pth').exists() == (kept == -1)
    found = find_checkpoint(theirs)
    assert (found.path, found.score) == (str(theirs / 'best_mAP_epoch_3.pth'), 60.0)


def test_the_best_checkpoint_so_far_is_the_resumed_runs(finished, tmp_path):
    ours, theirs = finished
    source = ours / 'epoch_3.pth'
    assert best_path(train(theirs.parent, [], source, kill=3)) == str(ours / 'best_mAP_epoch_2.pth')
    # moved together; a file of the same name in this folder is still another run's
    moved = tmp_path / 'moved'
    ours.rename(moved)
    runner = train(theirs.parent, [], moved / 'epoch_3.pth', kill=3)
    assert best_path(runner) == str(moved / 'best_mAP_epoch_2.pth')
    assert runner.message_hub.get_info('best_ckpt') == best_path(runner)
    # in its own folder, wherever that is now
    work = tmp_path / 'c/work'
    shutil.copytree(moved, work)
    runner = train(work.parent, [], work / 'epoch_3.pth', kill=3)
    assert best_path(runner) == str(work / 'best_mAP_epoch_2.pth')
    # nowhere
    for folder in (moved, work):
        (folder / 'best_mAP_epoch_2.pth').unlink()
    runner = train(theirs.parent, [], moved / 'epoch_3.pth', kill=3)
    assert best_path(runner) is None
    log = max(theirs.glob('*/*.log')).read_text()
    best = Path('a', 'work', 'best_mAP_epoch_2.pth')
    assert f'{best}, the best checkpoint so far, is missing' in log


def test_a_run_set_back_and_killed_before_its_first_save_is_resumed_from_there(finished):
    work, _ = finished
    train(work.parent, [], work / 'epoch_1.pth', kill=1)
    lines = []
    assert find_resumable(work, lines.append) == str(work / 'epoch_1.pth') and lines == []
    # again and again, and the folder may be moved
    train(work.parent, [], work / 'epoch_1.pth', kill=1)
    moved = work.with_name('moved')
    work.rename(moved)
    assert find_resumable(moved, lines.append) == str(moved / 'epoch_1.pth') and lines == []
    moved.rename(work)
    # a save of the run that was set back counts, also before the pointer is moved
    train(work.parent, [5.0], work / 'epoch_1.pth', kill=2)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_1.pth'))
    assert find_resumable(work, lines.append) == str(work / 'epoch_2.pth')
    # set back once more: that save is left, too
    train(work.parent, [], work / 'epoch_1.pth', kill=1)
    assert find_resumable(work) == str(work / 'epoch_1.pth')


def test_a_run_resumed_in_the_folder_of_another_and_killed_goes_on_as_itself(finished):
    ours, theirs = finished
    train(theirs.parent, [], ours / 'epoch_2.pth', kill=2)
    assert find_resumable(theirs) == str(ours / 'epoch_2.pth')
    ours.rename(ours.with_name('moved'))
    with pytest.raises(CheckpointError) as error:
        find_resumable(theirs)
    reason = (
        f'{theirs}/epoch_1.pth is of another run, which --resume {theirs}/epoch_1.pth continues'
    )
    assert reason in str(error.value) and f'{ours}/epoch_2.pth is missing' in str(error.value)


def test_a_new_run_in_a_used_folder_that_was_killed_does_not_go_on_as_the_old_one(finished):
    work, _ = finished
    train(work.parent, [], kill=0)
    with pytest.raises(CheckpointError, match='epoch_1.pth is of another run, which --resume'):
        find_resumable(work)
    assert not train_tool.has_saved(work)
    # the old one is taken by its name
    train(work.parent, [], work / 'epoch_4.pth')
    assert find_resumable(work) == str(work / 'epoch_4.pth')


def test_files_that_were_put_into_the_folder_later_are_taken(finished):
    ours, theirs = finished
    train(theirs.parent, [], theirs / 'epoch_1.pth', kill=1)
    for name in ('epoch_3.pth', 'last_checkpoint'):
        shutil.copy(ours / name, theirs)
    (theirs / 'last_checkpoint').write_text(str(theirs / 'epoch_3.pth'))
    assert find_resumable(theirs) == str(theirs / 'epoch_3.pth')


@pytest.mark.parametrize('content', ['', '['])
def test_a_record_of_the_last_launch_that_is_none_is_no_obstacle(finished, content):
    work, _ = finished
    (work / 'last_launch').write_text(content)
    assert find_resumable(work) == str(work / 'epoch_4.pth')
    assert find_checkpoint(work).score == 50.0


def test_the_best_checkpoint_that_a_run_left_when_it_was_set_back_is_not_taken(finished):
    work, _ = finished
    train(work.parent, [], work / 'epoch_1.pth', kill=1)
    found = find_checkpoint(work)  # the best of its first epoch was deleted for the second's
    assert found.path == str(work / 'epoch_1.pth')
    train(work.parent, [5.0, 15.0, 12.0], work / 'epoch_1.pth')
    assert (work / 'best_mAP_epoch_2.pth').is_file()  # nothing is lost
    for stage in ('best', 'last'):
        found = find_checkpoint(work, stage)
        assert (found.epoch, found.score) == (3, 15.0)


def test_what_was_saved_before_an_epoch_had_another_length_is_still_the_runs(finished):
    work, _ = finished
    # two iterations an epoch become one
    hooks = dict(custom_hooks=[dict(type='MidEpochResumeHook')])
    train(work.parent, [], work / 'epoch_3.pth', kill=3, extra=[0.0] * 2, **hooks)
    (_, (_, iteration)) = json.loads((work / 'last_launch').read_text())
    assert iteration == read_checkpoint(work / 'epoch_3.pth')['meta']['iter'] == 6
    assert find_checkpoint(work).score == 50.0
    assert find_resumable(work) == str(work / 'epoch_3.pth')


def test_a_run_of_an_earlier_version_is_resumed(finished):
    work, _ = finished
    for path in work.glob('*.pth'):  # launches without iterations, and no record of the last
        content = read_checkpoint(path)
        info = content['message_hub']['runtime_info']
        info['launches'] = [launch[0] for launch in info['launches']]
        torch.save(content, path)
    (work / 'last_launch').unlink()
    assert find_resumable(work) == str(work / 'epoch_4.pth')
    runner = train(work.parent, [], work / 'epoch_3.pth', kill=3)
    assert best_path(runner) == str(work / 'best_mAP_epoch_2.pth')
    assert find_resumable(work) == str(work / 'epoch_3.pth')
    train(work.parent, [25.0], find_resumable(work))
    assert find_checkpoint(work).score == 50.0


def test_a_damaged_file_is_of_no_run(tmp_path):
    (tmp_path / 'best.pth').write_bytes(b'no checkpoint')
    assert find_of_run('/gone/best.pth', Position((), 0), [tmp_path]) is None


def test_a_position_is_of_those_that_its_run_went_on_to():
    first, left, second = ((1.0, 0),), ((1.0, 0), (2.0, 6)), ((1.0, 0), (3.0, 6))
    run = [*left, (4.0, 9)]
    for launches, iterations, expected in (
        (first, 6, True),
        (first, 7, False),  # before it was set back
        (left, 9, True),
        (left, 10, False),
        (run, 99, True),  # of its last launch
        (second, 6, False),
        (((5.0, 0),), 1, False),
        ([*run, (5.0, 9)], 9, False),
    ):
        one = Position([Launch(*pair) for pair in launches], iterations)
        assert one.is_of(Position([Launch(*pair) for pair in run], 12)) is expected
    assert parse_launches([1.0, [2.0, 6], [3.0, None]]) == [(1.0, None), (2.0, 6), (3.0, None)]
    assert parse_launches(None) == []


# ---------------------------------------------------------------- a stage that starts from it


def test_a_stage_is_not_started_from_a_best_checkpoint_that_is_gone(finished, tmp_path):
    work, _ = finished
    stage = dict(custom_hooks=[dict(type='BestStage', begin=4, start_from='best')])
    source, kept = work / 'epoch_2.pth', tmp_path / 'kept.pth'
    (work / 'best_mAP_epoch_2.pth').rename(kept)
    of_another_run = work.parents[1].joinpath('b', 'work', 'best_mAP_epoch_2.pth')
    shutil.copy(of_another_run, work)
    mine = tmp_path.joinpath('c', 'work')
    with pytest.raises(RuntimeError, match='best_mAP_epoch_2.pth is missing, or a file') as error:
        train(tmp_path / 'c', [0.0, 0.0], source, **stage)
    assert '\n' not in str(error.value) and not (mine / 'epoch_3.pth').exists()
    kept.rename(mine / 'best_mAP_epoch_2.pth')
    runner = train(tmp_path / 'c', [0.0, 0.0], source, **stage)
    assert runner.message_hub.get_info('stage') == 2


def test_a_stage_finds_the_best_checkpoint_when_no_better_one_is_looked_for(finished, tmp_path):
    work, _ = finished
    stage = dict(custom_hooks=[dict(type='BestStage', begin=4, start_from='best')])
    no_best = dict(default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1)))
    weights = read_checkpoint(work / 'best_mAP_epoch_2.pth')['state_dict']
    seen = []

    class Seen(Hook):
        priority = 'LOWEST'

        def before_train_epoch(self, runner):
            seen.append({name: value.clone() for name, value in runner.model.state_dict().items()})

    stage['custom_hooks'].append(Seen())
    train(work.parent, [0.0], work / 'epoch_3.pth', **stage, **no_best)
    for name, value in weights.items():
        torch.testing.assert_close(seen[0][name], value, rtol=0, atol=0, msg=name)


def test_train_py_refuses_at_once_a_run_whose_best_checkpoint_is_gone(tmp_path):
    cfg = two_stage_config(tmp_path / 'run')
    cfg.pop('experiment_name')
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    cfg.custom_hooks[1].start_from = 'best'
    path = tmp_path / 'config.py'
    cfg.dump(str(path))
    assert call_tool('tools/train.py', path) is None
    other = tmp_path / 'other'
    other.mkdir()
    shutil.copy(tmp_path / 'run/epoch_1.pth', other)
    (tmp_path / 'run').rename(tmp_path / 'moved')
    to = ['--work-dir', tmp_path / 'new', '--resume']
    for dry_run in ([], ['--dry-run']):
        error = call_tool('tools/train.py', path, *to, other / 'epoch_1.pth', *dry_run)
        assert (
            error.startswith('error: the second stage starts from the best') and '\n' not in error
        )
        assert f'{tmp_path}/run/best_' in error
    # next to the checkpoint, or in the work directory; the second stage does without it
    for source in (tmp_path / 'moved/epoch_1.pth', tmp_path / 'moved/epoch_3.pth'):
        assert call_tool('tools/train.py', path, *to, source, '--dry-run') is None
    (tmp_path / 'new').mkdir(exist_ok=True)
    for best in (tmp_path / 'moved').glob('best_*.pth'):
        best.rename(tmp_path / 'new' / best.name)
    for number in (1, 3):
        source = shutil.copy(tmp_path / f'moved/epoch_{number}.pth', other)
        assert call_tool('tools/train.py', path, *to, source, '--dry-run') is None


@pytest.mark.parametrize('start_from', ['ema', 'last'])
def test_a_stage_that_does_not_start_from_the_best_checkpoint_needs_none(
    finished, tmp_path, start_from
):
    work, _ = finished
    (work / 'best_mAP_epoch_2.pth').unlink()
    stage = dict(custom_hooks=[dict(type='BestStage', begin=4, start_from=start_from)])
    runner = train(tmp_path / 'c', [0.0, 0.0], work / 'epoch_2.pth', **stage)
    assert runner.message_hub.get_info('stage') == 2
