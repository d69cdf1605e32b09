"""The memory format of a run: channels last, for speed."""

import logging

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models import ResNet
from torch import nn
from torch.testing import assert_close

from mlic.engine.runner.tool_runners import ConsoleRunner


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
