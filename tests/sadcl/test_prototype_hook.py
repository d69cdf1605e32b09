"""When the stage of prototypes starts."""

from types import SimpleNamespace

import pytest

from projects.sadcl.engine.prototype_hook import PrototypeHook


def test_begin_counts_from_one():
    with pytest.raises(ValueError, match='counts epochs from 1, got 0'):
        PrototypeHook(begin=0)


@pytest.mark.parametrize('epoch, iteration', [(1, 10), (2, 9), (2, 11), (3, 15)])
def test_the_stage_starts_at_the_first_iteration_of_its_own_epoch_only(epoch, iteration):
    # (1, 10): a run resumed at the end of epoch 2, of which nothing is left
    runner = SimpleNamespace(epoch=epoch, iter=iteration, train_dataloader=range(5))
    PrototypeHook(begin=3).before_train_epoch(runner)  # nothing else of the runner is touched
    runner.epoch, runner.iter = 2, 10
    with pytest.raises(AttributeError, match='model'):
        PrototypeHook(begin=3).before_train_epoch(runner)
