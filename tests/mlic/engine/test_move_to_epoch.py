"""A run that leaves out epochs has the schedules of one that left out none."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import ParamSchedulerHook
from mmpretrain.registry import PARAM_SCHEDULERS
from torch import nn

from mlic.engine.mmengine_internals import move_to_epoch

LENGTH, EPOCHS = 4, 10  # iterations of an epoch
SCHEDULES = dict(
    one_cycle=[dict(type='GroupOneCycleLR', end=LENGTH * EPOCHS, by_epoch=False)],
    cosine=[dict(type='CosineAnnealingLR', T_max=EPOCHS)],
    several_steps=[dict(type='MultiStepLR', milestones=[3, 5, 7])],
    linear=[dict(type='LinearLR', end=LENGTH * EPOCHS, by_epoch=False)],
    one_for_each_stage=[
        dict(type='GroupOneCycleLR', begin=0, end=5 * LENGTH, by_epoch=False),
        dict(type='GroupOneCycleLR', begin=5 * LENGTH, end=EPOCHS * LENGTH, by_epoch=False),
    ],
    # both multiply the rate, so that it depends on their order
    epochs_and_iterations=[
        dict(type='CosineAnnealingLR', T_max=EPOCHS, eta_min=0.2),
        dict(type='ExponentialLR', gamma=0.98, by_epoch=False),
    ],
    plateau=[dict(type='ReduceOnPlateauLR', monitor='mAP')],
    none=None,
)


def scheduled_runner(schedules):
    """A Runner with what the schedules' hook and the move to an epoch read."""
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in (1.0, 0.1)]
    optimizer = torch.optim.AdamW(groups, betas=(0.95, 0.999))
    return SimpleNamespace(
        optimizer=optimizer,
        param_schedulers=schedules
        and [PARAM_SCHEDULERS.build(dict(item, optimizer=optimizer)) for item in schedules],
        train_loop=SimpleNamespace(_iter=0, _epoch=0, dataloader=range(LENGTH), max_iters=0),
        optim_wrapper=SimpleNamespace(initialize_count_status=lambda *args: None),
        model=None,
    )


def train_epochs(runner, number):
    """Rates and beta1 of the groups in each iteration of so many epochs."""
    loop, hook, history = runner.train_loop, ParamSchedulerHook(), []
    for _ in range(number):
        for _ in loop.dataloader:
            history.append([(x['lr'], x['betas'][0]) for x in runner.optimizer.param_groups])
            runner.optimizer.step()
            hook.after_train_iter(runner, 0)
            loop._iter += 1
        hook.after_train_epoch(runner)
        loop._epoch += 1
    return history


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('epoch, target', [(1, 5), (2, 7), (4, 5), (3, 3)])
def test_a_move_to_an_epoch_gives_the_rates_of_a_run_that_left_out_none(name, epoch, target):
    whole, moved = (scheduled_runner(SCHEDULES[name]) for _ in range(2))
    expected = train_epochs(whole, EPOCHS)[target * LENGTH :]
    train_epochs(moved, epoch)
    move_to_epoch(moved, target)
    assert (moved.train_loop._epoch, moved.train_loop._iter) == (target, target * LENGTH)
    np.testing.assert_array_equal(train_epochs(moved, EPOCHS - target), expected)
