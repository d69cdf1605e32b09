"""When the stage of prototypes starts, and when it cannot."""

from types import SimpleNamespace
from unittest import mock

import pytest
from mmengine import dist

from projects.sadcl.engine.prototype_hook import PrototypeHook


def test_begin_counts_from_one():
    with pytest.raises(ValueError, match='counts epochs from 1, got 0'):
        PrototypeHook(begin=0)


def test_a_start_that_is_none_is_named():
    with pytest.raises(ValueError, match="start_from is 'ema', 'best' or 'last', got 'first'"):
        PrototypeHook(begin=2, start_from='first')


@pytest.mark.parametrize('epoch, iteration', [(1, 10), (2, 9), (2, 11), (3, 15)])
def test_the_stage_starts_at_the_first_iteration_of_its_own_epoch_only(epoch, iteration):
    # (1, 10): a run resumed at the end of epoch 2, of which nothing is left
    runner = SimpleNamespace(epoch=epoch, iter=iteration, train_dataloader=range(5))
    PrototypeHook(begin=3).before_train_epoch(runner)  # nothing else of the runner is touched
    runner.epoch, runner.iter = 2, 10
    with pytest.raises(AttributeError, match='model'):
        PrototypeHook(begin=3).before_train_epoch(runner)


@pytest.mark.parametrize('processes, refused', [(1, False), (2, True)])
def test_processes_whose_batches_may_differ_are_refused(processes, refused):
    head = SimpleNamespace(projector=True, loss_sscl=None)
    batches = SimpleNamespace(batch_size=4)
    loader = SimpleNamespace(batch_sampler=batches, sampler=SimpleNamespace(round_up=False))
    model = SimpleNamespace(head=head, data_preprocessor=SimpleNamespace(to_onehot=False))
    runner = SimpleNamespace(model=model, train_dataloader=loader)
    message = r'sampler\.round_up=True' if refused else r'data_preprocessor\.to_onehot=True'
    with (
        mock.patch.object(dist, 'get_world_size', return_value=processes),
        pytest.raises(ValueError, match=message),
    ):
        PrototypeHook(begin=2).before_train(runner)
