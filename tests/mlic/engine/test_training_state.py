"""Resuming from a checkpoint whose training state is not that of the run."""

import copy
from types import SimpleNamespace

import pytest
import torch

from mlic.engine import CheckpointError, TrainingRunner
from mlic.engine.checkpoints.training_state import check_optimizer, resuming_from
from tests import tiny_runs
from tests.tiny_runs import make_runner

SCHEDULE = dict(type='CosineAnnealingLR', T_max=6, by_epoch=False)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Content and path of the checkpoint of a run's first epoch, and how to resume from it."""
    monkeypatch.setattr(tiny_runs, 'Runner', TrainingRunner)
    make_runner(tmp_path / 'first', param_scheduler=SCHEDULE)[0].train()
    path = tmp_path / 'changed.pth'
    content = torch.load(tmp_path / 'first' / 'work' / 'epoch_1.pth', weights_only=False)

    def resume(changed):
        torch.save(changed, path)
        options = dict(epochs=2, param_scheduler=SCHEDULE, resume=True, load_from=str(path))
        return make_runner(tmp_path / 'second', **options)[0].train()

    return content, resume


MOMENTA = {index: dict(momentum_buffer=torch.zeros(7)) for index in range(4)}
CHANGES = {
    'optimizer': [{}, dict(state={}, param_groups=[])],
    'optimizer.state': [MOMENTA],
    'param_schedulers': [['x']],
    'message_hub': [{}],
    'meta': [dict(cfg='')],
}


@pytest.mark.parametrize(
    'place, value', [(place, value) for place, values in CHANGES.items() for value in values]
)
def test_a_training_state_that_does_not_fit_is_one_line_with_the_file(saved, place, value):
    content, resume = saved
    changed = copy.deepcopy(content)
    *parents, last = place.split('.')
    target = changed
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(CheckpointError, match=r'changed\.pth') as refusal:
        resume(changed)
    assert '\n' not in str(refusal.value)


def test_the_state_that_a_run_has_saved_fits(saved):
    content, resume = saved
    resume(content)


def test_buffers_that_are_none_fit():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1)
    optimizer.state[weight]['momentum_buffer'] = None  # as without momentum
    check_optimizer(SimpleNamespace(optimizer=optimizer), 'run.pth')


@pytest.mark.parametrize(
    'error', [PermissionError(13, 'Permission denied'), MemoryError(), CheckpointError('a reason')]
)
def test_what_the_machine_lacks_or_has_a_reason_is_not_said_anew_of_the_checkpoint(error):
    with pytest.raises(type(error)) as raised, resuming_from('run.pth'):
        raise error
    assert raised.value is error
