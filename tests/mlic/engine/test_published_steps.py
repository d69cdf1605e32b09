"""Configs whose loss is a mean where the published one is a sum: Adam takes the same steps."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.testing import assert_close

from tests.helpers import ROOT


@pytest.mark.parametrize(
    'config, rate',
    [('cpsd/cpsd_r101_coco448_teacher.py', 1e-5), ('ml_decoder/ml-decoder_r101_coco448.py', 1e-4)],
)
def test_adam_beside_a_mean_takes_the_steps_of_the_published_sum(config, rate):
    cfg = Config.fromfile(ROOT / 'configs' / config)
    images = cfg.auto_scale_lr.base_batch_size
    torch.manual_seed(0)
    ours = nn.Linear(8, 4, bias=False).double()
    theirs = nn.Parameter(ours.weight.detach().clone())
    wrapper = build_optim_wrapper(ours, dict(cfg.optim_wrapper, type='OptimWrapper'))
    adam = torch.optim.Adam([theirs], lr=rate, weight_decay=1e-4)
    for _ in range(50):
        gradient = 1e-7 * torch.randn(4, 8, dtype=torch.double)  # small: decay and epsilon count
        ours.weight.grad, theirs.grad = gradient, gradient * images
        wrapper.step()
        adam.step()
    assert_close(ours.weight, theirs, rtol=1e-9, atol=0)
