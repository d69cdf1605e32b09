"""Lines of the log early in a run."""

import json
import re
from pathlib import Path

import pytest

from tests.tiny_runs import make_runner, toy_loader

HOOKS = dict(
    runtime_info=dict(type='DeferredInfoHook'), logger=dict(type='EarlyLoggerHook', interval=15)
)


def run(folder, epochs=2, images=40, hooks=HOOKS, **changes):
    """The text of the log and the rows of scalars of a run, two images an iteration."""
    options = dict(default_hooks=dict(hooks, checkpoint=None), **changes)
    runner, weights = make_runner(folder, [0.1] * images, epochs, **options)
    runner.train()
    (log,) = Path(runner.work_dir).glob('*/*.log')
    (rows,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in rows.read_text().splitlines()]
    return log.read_text(), rows, weights.seen


def lines_of(log, mode='train'):
    return re.findall(rf'Epoch\({mode}\) +(\S*\[ *\d+/\d+\])', log)


def test_lines_follow_the_first_and_the_tenth_iteration_of_a_run_alone(tmp_path):
    log, _, _ = run(tmp_path)
    assert lines_of(log) == ['[1][ 1/20]', '[1][10/20]', '[1][15/20]', '[2][15/20]']
    first = next(line for line in log.splitlines() if '[1][ 1/20]' in line)
    assert ' eta: ' in first and ' loss: ' in first  # which the device was asked for


@pytest.mark.parametrize('images, expected', [(2, ['[1][1/1]']), (6, ['[1][1/3]', '[1][3/3]'])])
def test_no_iteration_has_two_lines(tmp_path, images, expected):
    assert lines_of(run(tmp_path, 1, images)[0]) == expected
    every = dict(HOOKS, logger=dict(type='EarlyLoggerHook', interval=1))
    log, _, _ = run(tmp_path / 'every', 1, 24, every)
    assert lines_of(log) == [f'[1][{i:2}/12]' for i in range(1, 13)]


def test_figures_and_weights_are_those_without_early_lines(tmp_path):
    plain = dict(HOOKS, logger=dict(type='LoggerHook', interval=15))
    (_, rows, seen), (_, expected, states) = run(tmp_path / 'a'), run(tmp_path / 'b', hooks=plain)

    def kept(rows):  # the times differ
        return [{k: v for k, v in row.items() if 'time' not in k} for row in rows]

    assert kept(rows) == kept(expected) and [row['iter'] for row in rows] == [15, 35]
    for ours, theirs in zip(seen, states, strict=True):
        assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_the_first_validation_has_a_line_after_its_first_iteration(tmp_path):
    log, rows, _ = run(
        tmp_path,
        val_dataloader=toy_loader([0.1] * 6),
        val_evaluator=dict(type='ToyMetric', scores=[1.0, 2.0], prefix='loss'),
        val_cfg=dict(),
    )
    assert lines_of(log, 'val') == ['[1][1/3]', '[1][3/3]', '[2][3/3]']
    # nor is what it measures averaged, as losses of iterations are
    assert [row['loss/mAP'] for row in rows if 'loss/mAP' in row] == [1.0, 2.0]
    assert 'loss/mAP: 2.0000' in log
