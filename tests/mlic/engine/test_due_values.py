"""After which iterations the host reads what the device has computed."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook, LoggerHook

from mlic.engine.runner.due_values import values_are_due

OFTEN = CheckpointHook(interval=3, by_epoch=False, save_last=False)
LAST = CheckpointHook(interval=-1, by_epoch=False, save_last=True)
NEVER = CheckpointHook(interval=-1, by_epoch=False, save_last=False)


@pytest.mark.parametrize(
    'hooks, due',
    [
        ([], range(12)),
        ([LoggerHook(interval=5)], [4, 9, 11]),
        ([LoggerHook(interval=5), LoggerHook(interval=4)], [3, 7, 11]),
        ([LoggerHook(interval=50), OFTEN], [2, 5, 8, 11]),
        ([LoggerHook(interval=50), LAST], [7, 11]),
        ([LoggerHook(interval=50), NEVER], [11]),
        ([LoggerHook(interval=50), CheckpointHook(interval=1, by_epoch=True)], [11]),
    ],
)
def test_values_are_due_for_a_line_a_checkpoint_and_the_end_of_an_epoch(hooks, due):
    loop = SimpleNamespace(max_iters=8)
    runner = SimpleNamespace(hooks=hooks, train_dataloader=range(12), train_loop=loop, max_iters=8)
    found = []
    for runner.iter in range(12):
        if values_are_due(runner, runner.iter):
            found.append(runner.iter)
    assert found == [*due]
