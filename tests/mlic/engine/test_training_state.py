"""Resuming from a checkpoint whose training state is not that of the run."""

import copy
from types import SimpleNamespace

import pytest
import torch

from mlic.engine import CheckpointError, TrainingRunner
from mlic.engine.checkpoints.training_state import check_optimizer, check_schedules, resuming_from
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
    'optimizer': [{}, dict(state={}, param_groups=[]), dict(state=[1], param_groups='x')],
    'optimizer.state': [[1], MOMENTA, {0: dict(momentum_buffer='x')}],
    'optimizer.param_groups.0.lr': ['x', [0.1], None],
    'param_schedulers': [['x'], dict(a=1)],
    'param_schedulers.0.last_step': ['x', [], None],
    'param_schedulers.0.step': [1],  # the name of a method
    'param_schedulers.0.base_values': [3.0],
    'message_hub': [{}],
    'message_hub.log_scalars': [5, [1]],
    'message_hub.resumed_keys': [[1]],
    'meta.seed': ['x'],
    'meta.epoch': [-1],
    'meta.iter': [-5],
    'meta': [dict(cfg='')],
}


@pytest.mark.parametrize(
    'place, value', [(place, value) for place, values in CHANGES.items() for value in values]
)
def test_a_training_state_that_does_not_fit_is_one_line_with_the_file(saved, place, value):
    content, resume = saved
    changed = copy.deepcopy(content)
    *parents, last = [int(key) if key.isdigit() else key for key in place.split('.')]
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


def test_whole_numbers_and_buffers_that_are_none_fit():
    schedule = SimpleNamespace(last_value=1, eta=0.5)
    check_schedules([schedule], [dict(last_value=0.5, eta=1)], 'run.pth')
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
