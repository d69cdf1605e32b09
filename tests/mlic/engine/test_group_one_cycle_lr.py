"""The one-cycle schedule of several groups, next to torch's and the published run's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper
from torch import nn

from mlic.engine.schedulers.group_one_cycle_lr import GroupOneCycleLR
from tests.helpers import recorded


def make_adamw(*rates):
    groups = [{'params': [nn.Parameter(torch.zeros(1))], 'lr': rate} for rate in rates]
    return torch.optim.AdamW(groups, betas=(0.95, 0.999))


def run_schedule(optimizer, scheduler, steps):
    """Learning rates and beta1 of every group before each step."""
    history = []
    for _ in range(steps):
        history.append([(group['lr'], group['betas'][0]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return np.array(history)  # (steps, groups, 2)


@pytest.mark.parametrize('pct_start', [0.2, 0.3])
@pytest.mark.parametrize('steps', [10, 57])
def test_one_cycle_equals_torch_for_every_group(steps, pct_start):
    ours, theirs = make_adamw(1e-3, 2e-4), make_adamw(1e-3, 2e-4)
    scheduler = GroupOneCycleLR(ours, pct_start=pct_start, total_steps=steps, by_epoch=False)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=[1e-3, 2e-4], total_steps=steps, pct_start=pct_start
    )
    # torch counts its steps from the first of the cycle, and so does mmengine
    expected = run_schedule(theirs, reference, steps)
    np.testing.assert_allclose(run_schedule(ours, scheduler, steps), expected, rtol=1e-12)


@pytest.mark.parametrize(
    'make', [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam], ids=lambda make: make.__name__
)
def test_one_cycle_moves_the_momentum_of_each_optimizer_as_torch_does(make):
    settings = []
    for schedule in (
        lambda optimizer: GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10),
    ):
        optimizer = make([nn.Parameter(torch.zeros(1))], lr=1e-3)
        scheduler = schedule(optimizer)
        for _ in range(10):
            group = optimizer.param_groups[0]
            momentum = group['betas'][0] if 'betas' in group else group['momentum']
            settings.append((group['lr'], momentum))
            optimizer.step()
            scheduler.step()
    np.testing.assert_allclose(settings[:10], settings[10:], rtol=1e-12)


def test_one_cycle_says_what_to_do_for_an_optimizer_without_momentum():
    optimizer = OptimWrapper(torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=1e-3))
    with pytest.raises(ValueError, match='Adagrad has neither: set betas=None in param_scheduler'):
        GroupOneCycleLR(optimizer, total_steps=10)
    schedule = GroupOneCycleLR(optimizer, total_steps=10, betas=None)
    assert schedule.get_last_value() == pytest.approx([1e-3 / 25])


def test_one_cycle_of_a_rise_of_one_step_does_not_divide_by_zero():
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, pct_start=0.2, total_steps=5, by_epoch=False)
    rates = run_schedule(optimizer, scheduler, 5)[:, 0, 0]
    # no warm-up here: a half cosine leads from the peak to almost nothing
    assert rates[0] == pytest.approx(1e-3 / 25)
    descent = 1e-3 * (1 + np.cos(np.pi * np.arange(1, 5) / 4)) / 2
    np.testing.assert_allclose(rates[1:], descent, atol=1e-3 / 25e4)


def test_one_cycle_equals_the_published_run():
    data = recorded('extras.npz')
    steps = int(data['onecycle.total_steps'])
    optimizer = make_adamw(5e-5)
    scheduler = GroupOneCycleLR(optimizer, pct_start=0.2, total_steps=steps, by_epoch=False)
    history = run_schedule(optimizer, scheduler, steps)[data['onecycle.step'], 0]
    np.testing.assert_allclose(history[:, 0], data['onecycle.lr'], rtol=1e-9)
    np.testing.assert_allclose(history[:, 1], data['onecycle.beta1'], rtol=1e-12)


def test_second_cycle_has_the_peaks_of_the_first():
    optimizer = make_adamw(1e-3, 2e-4)
    kwargs = dict(pct_start=0.2, by_epoch=False)
    first = GroupOneCycleLR(optimizer, begin=0, end=20, **kwargs)
    second = GroupOneCycleLR(optimizer, begin=20, end=40, **kwargs)
    both = SimpleNamespace(step=lambda: (first.step(), second.step()))
    rates = run_schedule(optimizer, both, 40)[..., 0]
    np.testing.assert_allclose(rates[:20], rates[20:], rtol=1e-12)
    np.testing.assert_allclose(np.max(rates, axis=0), [1e-3, 2e-4])


def test_a_cycle_after_a_warm_up_has_the_peaks_of_the_optimizer():
    optimizer = make_adamw(1e-3, 2e-4)
    warm_up = LinearLR(optimizer, start_factor=0.01, end=5, by_epoch=False)
    cycle = GroupOneCycleLR(optimizer, pct_start=0.2, begin=5, end=25, by_epoch=False)
    both = SimpleNamespace(step=lambda: (warm_up.step(), cycle.step()))
    rates = run_schedule(optimizer, both, 25)[..., 0]
    np.testing.assert_allclose(rates[0], [1e-5, 2e-6])
    np.testing.assert_allclose(np.max(rates[5:], axis=0), [1e-3, 2e-4])


def test_one_cycle_leaves_betas_alone_if_told_to():
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False, betas=None)
    assert set(run_schedule(optimizer, scheduler, 10)[:, 0, 1]) == {0.95}


def test_one_cycle_state_loads_without_running_code(tmp_path):
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False)
    run_schedule(optimizer, scheduler, 4)
    torch.save(scheduler.state_dict(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    resumed = GroupOneCycleLR(make_adamw(1e-3), total_steps=10, by_epoch=False)
    resumed.load_state_dict(state)
    assert resumed.last_step == scheduler.last_step == 4
    resumed.step()
    scheduler.step()
    assert resumed.get_last_value() == scheduler.get_last_value()


def test_three_phases_are_refused():
    with pytest.raises(ValueError, match='three_phase'):
        GroupOneCycleLR(make_adamw(1e-3), total_steps=10, three_phase=True)
