"""The word on a slow loader."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer

from mlic.engine.hooks.loader_check_hook import LoaderCheckHook


def make_runner(waiting, whole=1.0, iterations=20):
    """An epoch whose first five iterations start the workers, and wait all the time."""
    data_time = [whole] * 5 + [waiting] * (iterations - 5)
    scalars = {
        'train/time': HistoryBuffer([whole] * iterations, [1] * iterations),
        'train/data_time': HistoryBuffer(data_time, [1] * iterations),
    }

    class Loader:
        num_workers = 2

        def __len__(self):
            return iterations

    return SimpleNamespace(
        message_hub=SimpleNamespace(log_scalars=scalars),
        train_dataloader=Loader(),
        logger=logging.getLogger('loader_check'),
    )


def test_a_slow_loader_is_named_once(caplog):
    hook = LoaderCheckHook(limit=0.25)
    with caplog.at_level(logging.WARNING, 'loader_check'):
        for _ in range(2):
            hook.after_train_epoch(make_runner(waiting=0.4))
    (record,) = caplog.records
    assert '0.400 of 1.000 s' in record.message and 'num_workers is 2' in record.message


@pytest.mark.parametrize('waiting, is_timed', [(0.0, True), (0.25, True), (0.9, False)])
def test_of_a_fast_loader_and_without_times_nothing_is_said(caplog, waiting, is_timed):
    runner = make_runner(waiting)
    if not is_timed:
        runner.message_hub.log_scalars = {}
    with caplog.at_level(logging.WARNING, 'loader_check'):
        LoaderCheckHook(limit=0.25).after_train_epoch(runner)
    assert not caplog.records
