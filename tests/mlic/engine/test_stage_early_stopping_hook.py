"""Early stopping of a stage."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.logging import MessageHub

from mlic.engine.hooks.stage_early_stopping_hook import StageEarlyStoppingHook


def stoppable_runner(epochs_done):
    """As much of a Runner as StageEarlyStoppingHook reads after a validation."""
    return SimpleNamespace(
        epoch=epochs_done,
        max_epochs=10,
        train_loop=SimpleNamespace(stop_training=False),
        message_hub=MessageHub.get_instance('stoppable'),
        logger=logging.getLogger('stoppable'),
    )


@pytest.mark.parametrize(
    'epoch, skips, ends',
    [(3, True, False), (4, False, False), (5, False, True)],
    ids=['within-first', 'end-of-first', 'second'],
)
def test_early_stopping_never_leaves_out_the_second_stage(epoch, skips, ends):
    hook = StageEarlyStoppingHook(next_stage=5, patience=1)
    runner = stoppable_runner(epoch)
    hook.after_val_epoch(runner, {'multi-label/mAP': 50.0})
    hook.after_val_epoch(runner, {'multi-label/mAP': 50.0})
    assert hook.skip_to_next_stage == skips
    assert runner.train_loop.stop_training == ends


def test_early_stopping_ends_a_run_that_has_no_second_stage():
    hook, runner = StageEarlyStoppingHook(next_stage=11, patience=1), stoppable_runner(3)
    for score in (50.0, 50.0):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
    assert runner.train_loop.stop_training and not hook.skip_to_next_stage


def test_any_gain_is_an_improvement_and_an_equal_score_is_none():
    hook, runner = StageEarlyStoppingHook(next_stage=1, patience=3), stoppable_runner(3)
    for score in (80.0, 80.001, 80.002, 80.003, 80.003, 80.003):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
        assert not runner.train_loop.stop_training
    hook.after_val_epoch(runner, {'multi-label/mAP': 80.003})
    assert runner.train_loop.stop_training


@pytest.mark.parametrize('seed', range(20))
def test_early_stopping_ends_a_run_after_the_epoch_of_the_published_code(seed):
    scores = np.random.default_rng(seed).normal(size=400).round(1)  # with ties
    expected = next(epoch for epoch in range(400) if epoch - scores[: epoch + 1].argmax() > 8)
    hook, runner = StageEarlyStoppingHook(next_stage=1), stoppable_runner(1)
    for epoch in range(expected + 1):
        assert not runner.train_loop.stop_training
        hook.after_val_epoch(runner, {'multi-label/mAP': float(scores[epoch])})
    assert runner.train_loop.stop_training


def test_early_stopping_takes_up_its_count():
    hook = StageEarlyStoppingHook(next_stage=1, patience=3)
    runner = stoppable_runner(3)
    for score in (50.0, 40.0, 41.0):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
    # resumed, and a new run of the same process
    for runner.iter, expected in ((30, (2, 50.0)), (0, (0, -np.inf))):
        hook = StageEarlyStoppingHook(next_stage=1, patience=3)
        hook.before_train(runner)
        assert (hook.wait_count, hook.best_score) == expected


def test_a_second_stage_of_one_epoch_is_one():
    hook, runner = StageEarlyStoppingHook(next_stage=10, patience=1), stoppable_runner(3)
    for _ in range(2):
        hook.after_val_epoch(runner, {'multi-label/mAP': 50.0})
    assert hook.skip_to_next_stage and not runner.train_loop.stop_training


@pytest.mark.parametrize('epoch, count', [(3, 2), (4, 0), (5, 2)])
def test_a_stage_counts_afresh_in_its_first_epoch_alone(epoch, count):
    hook, runner = StageEarlyStoppingHook(next_stage=5, patience=9), stoppable_runner(1)
    for score in (50.0, 40.0, 40.0):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
    runner.epoch = epoch
    hook.before_train_epoch(runner)
    assert (hook.wait_count, hook.skip_to_next_stage) == (count, False)
    assert hook.best_score == (50.0 if count else -np.inf)


def test_a_metric_of_which_less_is_better_is_refused():
    with pytest.raises(ValueError, match='loss: only metrics of which more is better'):
        StageEarlyStoppingHook(next_stage=5, monitor='loss')
