"""Which checkpoint a work directory stands for: by recorded scores, never by times of files."""

import itertools
import os
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mlic.cli import train
from mlic.engine.checkpoints.matching import class_difference
from mlic.engine.checkpoints.reading import CheckpointError
from mlic.engine.checkpoints.search import (
    FoundCheckpoint,
    check_resumable,
    find_checkpoint,
    find_resumable,
)
from tests.tiny_runs import make_runner, toy_loader


def save_best(folder, epoch, score, stage=None, metric=None, others=()):
    """A best_*.pth as mmengine's CheckpointHook writes it; with a metric, one of several."""
    name = f'best_{metric or "mAP"}_epoch_{epoch}.pth'
    suffix = f'_{metric}' if metric else ''
    info = {**dict(others), f'best_score{suffix}': score, f'best_ckpt{suffix}': f'/old/{name}'}
    if stage is not None:
        info['stage'] = stage
    content = dict(meta=dict(epoch=epoch, iter=10 * epoch), state_dict={})
    content['message_hub'] = dict(
        runtime_info=info, log_scalars={'loss': HistoryBuffer([2.0], [1])}
    )
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / name)
    return name


@pytest.fixture
def two_stages(tmp_path):
    """70.5 in the first stage, 63 in the second."""
    save_best(tmp_path / 'run', 7, 70.5)
    save_best(tmp_path / 'run', 30, 63.0, stage=2)
    return tmp_path / 'run'


@pytest.mark.parametrize('order', list(itertools.permutations([7, 30])), ids=str)
def test_a_copy_stands_for_the_same_checkpoint_whenever_its_files_were_written(
    two_stages, tmp_path, order
):
    (tmp_path / 'copy').mkdir()
    for time, epoch in enumerate(order, 1):
        name = f'best_mAP_epoch_{epoch}.pth'
        os.utime(shutil.copy(two_stages / name, tmp_path / 'copy'), (time, time))
    for stage, epoch in dict(best=7, last=30).items():
        found = find_checkpoint(tmp_path / 'copy', stage)
        assert found.path == str(tmp_path / 'copy' / f'best_mAP_epoch_{epoch}.pth')


def test_the_line_has_stage_epoch_and_score(two_stages):
    best, last = (str(find_checkpoint(two_stages, stage)) for stage in ('best', 'last'))
    assert best.endswith('run/best_mAP_epoch_7.pth (stage 1, epoch 7, validation score 70.5)')
    assert last.endswith('run/best_mAP_epoch_30.pth (stage 2, epoch 30, validation score 63)')


def test_the_last_lines_of_a_training_name_both_where_they_differ(two_stages, capsys):
    args = Config(dict(config='c.py', cfg_options=None))
    train.print_end(args, str(two_stages))
    checkpoint, last_stage, command = capsys.readouterr().out.splitlines()
    assert checkpoint.startswith('checkpoint: ') and 'epoch 7' in checkpoint
    assert last_stage.startswith('of the last stage, with --stage last: ')
    assert 'epoch 30' in last_stage and command.startswith('test it: ')
    (two_stages / 'best_mAP_epoch_7.pth').unlink()
    train.print_end(args, str(two_stages))
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize('times', [(1, 2, 3), (3, 2, 1)], ids=str)
def test_a_run_without_recorded_stages_has_its_last_by_epoch(tmp_path, times):
    names = [save_best(tmp_path, epoch, score) for epoch, score in ((9, 50.0), (10, 40.0))]
    names.append('best_mAP.pth')  # of another hand: without a record
    torch.save(dict(state_dict={}), tmp_path / names[2])
    for time, name in zip(times, names):
        os.utime(tmp_path / name, (time, time))
    best, last = (find_checkpoint(tmp_path, stage) for stage in ('best', 'last'))
    assert best == (str(tmp_path / names[0]), None, 9, 90, 50.0)
    assert last == (str(tmp_path / names[1]), None, 10, 100, 40.0)


def test_the_last_stage_keeps_its_own_best(tmp_path):
    for epoch, score in ((12, 61.0), (15, 60.0)):  # the folder has had two runs
        save_best(tmp_path, epoch, score, stage=2)
    save_best(tmp_path, 3, 70.0)
    assert find_checkpoint(tmp_path, 'last').epoch == 12


@pytest.mark.parametrize('second', [[30.0, 10.0], [30.0, 40.0, 20.0], None])
def test_the_best_checkpoint_of_an_older_run_is_not_taken(tmp_path, second):
    def train(scores):
        hook, validation = dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1), {}
        if scores:
            hook.update(save_best='mAP', rule='greater')
            metric = dict(type='ToyMetric', scores=scores)
            validation = dict(
                val_dataloader=toy_loader([0.0] * 2), val_cfg={}, val_evaluator=metric
            )
        runner, _ = make_runner(
            tmp_path,
            epochs=len(scores or [0] * 3),
            default_hooks=dict(checkpoint=hook),
            **validation,
        )
        runner.train()

    train([50.0, 90.0])
    assert find_checkpoint(tmp_path / 'work').score == 90
    train(second)
    assert (tmp_path / 'work' / 'best_mAP_epoch_2.pth').exists()  # nothing is lost
    for stage in ('best', 'last'):
        found = find_checkpoint(tmp_path / 'work', stage)
        assert found.score == (max(second) if second else None)
        assert found.epoch == (second.index(max(second)) + 1 if second else 3)


def test_of_several_metrics_the_first_decides(tmp_path):
    save_best(tmp_path, 3, 50.0, metric='mAP')
    first = {'best_score_mAP': 50.0, 'best_ckpt_mAP': 'best_mAP_epoch_3.pth'}
    save_best(tmp_path, 5, 90.0, metric='CF1', others=first)
    for stage in ('best', 'last'):
        assert find_checkpoint(tmp_path, stage).path == str(tmp_path / 'best_mAP_epoch_3.pth')


@pytest.mark.parametrize('key', ['meta', 'state_dict', 'message_hub', 'optimizer'])
@pytest.mark.parametrize('value', [None, [1], 'text', 3], ids=str)
def test_what_lacks_a_part_is_not_resumed(tmp_path, key, value):
    content = dict(meta=dict(iter=10), state_dict={}, message_hub={}, optimizer={})
    torch.save({**content, key: value}, tmp_path / 'epoch_1.pth')
    for find in (find_resumable, lambda folder: check_resumable(folder / 'epoch_1.pth')):
        with pytest.raises(CheckpointError, match=f'epoch_1.pth.* {key}') as error:
            find(tmp_path)
        assert '\n' not in str(error.value)


def test_a_run_resumes_from_a_checkpoint_that_its_pointer_names_elsewhere(tmp_path):
    content = dict(meta=dict(iter=10), state_dict={}, message_hub={}, optimizer={})
    torch.save(content, tmp_path / 'epoch_1.pth')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'last_checkpoint').write_text(f'{tmp_path / "epoch_1.pth"}\n')
    assert find_resumable(tmp_path / 'run') == str(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize('times', list(itertools.permutations([1, 2])), ids=str)
def test_of_two_that_are_equally_far_resume_does_not_take_the_newer(tmp_path, times):
    for name, time in zip(('epoch_1.pth', 'iter_10.pth'), times):
        content = dict(meta=dict(iter=10), state_dict={}, message_hub={}, optimizer={})
        torch.save(content, tmp_path / name)
        os.utime(tmp_path / name, (time, time))
    assert find_resumable(tmp_path, lambda line: None) == str(tmp_path / 'iter_10.pth')


@pytest.mark.parametrize(
    'trained, data, expected',
    [
        ('abc', 'cba', "another order than the data: number 0 is 'a' in the checkpoint and 'c'"),
        ('abc', 'abd', "other classes than the data: number 2 is 'c' in the checkpoint and 'd'"),
        ('abc', 'abce', "3 classes, the data have 4; only in the data: 'e'"),
        ('abcd', 'abx', "4 classes, the data have 3; only in the checkpoint: 'c', 'd'; only in"),
        ('abc', 'abc', None),
        (None, 'abc', None),
        ('abc', None, None),
    ],
)
def test_difference_of_classes(trained, data, expected):
    difference = class_difference(trained and list(trained), data and tuple(data))
    assert expected is None and difference is None or expected in difference


@pytest.mark.parametrize('stage', ['first', 'Last', 2, None])
def test_a_stage_that_there_is_not_is_refused(tmp_path, stage):
    save_best(tmp_path, 3, 50.0)
    with pytest.raises(ValueError, match=f'^stage must be one of best, last, got {stage!r}$'):
        find_checkpoint(tmp_path, stage)


def test_checkpoint_of_a_work_directory_is_the_best_then_the_latest(tmp_path):
    with pytest.raises(FileNotFoundError, match='no best'):
        find_checkpoint(str(tmp_path))
    resumable = dict.fromkeys(('meta', 'state_dict', 'message_hub', 'optimizer'), {})
    torch.save(resumable, tmp_path / 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    assert find_checkpoint(tmp_path).path == str(tmp_path / 'epoch_2.pth')
    best = tmp_path / 'best_multi-label_mAP_epoch_1.pth'
    torch.save(dict(state_dict={}), best)
    assert find_checkpoint(tmp_path).path == str(best)
    assert find_checkpoint(best).path == str(best)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        find_checkpoint(str(tmp_path / 'nothing.pth'))
    assert find_checkpoint('https://x.org/a.pth') == FoundCheckpoint('https://x.org/a.pth')


def test_the_only_checkpoint_of_a_folder_that_is_no_runs_is_the_one(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'published-01234567.pth')
    assert find_checkpoint(tmp_path).path == str(tmp_path / 'published-01234567.pth')
    torch.save(dict(state_dict={}), tmp_path / 'another.pth')
    with pytest.raises(CheckpointError, match='nothing to resume from'):
        find_checkpoint(tmp_path)
