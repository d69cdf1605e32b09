"""What is there for speed: memory format, and the word on a slow loader."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from mmpretrain.models import ResNet
from torch import nn
from torch.testing import assert_close

from mlic.engine.hooks.loader_check_hook import LoaderCheckHook
from mlic.engine.runner.console import ConsoleRunner


def wrap(model, **cfg):
    """A model as a Runner of this config hands it to its loops."""
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner.cfg, runner.logger, runner._distributed = Config(cfg), logging.getLogger('test'), False
    return runner.wrap_model(None, model)


def test_weights_are_laid_out_before_ddp_sees_them(monkeypatch):
    seen = []
    monkeypatch.setattr(Runner, 'wrap_model', lambda self, cfg, model: seen.append(model))
    for channels_last in (True, False):
        wrap(nn.Conv2d(4, 8, 3), channels_last=channels_last)
    layouts = [model.weight.is_contiguous(memory_format=torch.channels_last) for model in seen]
    assert layouts == [True, False]


def test_channels_last_changes_the_memory_and_not_the_features():
    torch.manual_seed(0)
    model, inputs = ResNet(depth=18), torch.randn(1, 3, 32, 32)
    model.eval()
    expected = model(inputs)[0]
    (feats,) = wrap(model, channels_last=True).to('cpu')(inputs)
    assert feats.is_contiguous(memory_format=torch.channels_last)
    # float32 sums in another order, through 18 layers
    assert_close(feats, expected, rtol=1e-4, atol=1e-4)


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
