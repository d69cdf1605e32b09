"""Mixed precision of a CPU."""

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mlic.engine.optimizers.autocast_optim_wrapper import AutocastOptimWrapper


def test_autocast_wrapper_computes_in_bfloat16_and_keeps_float32_weights():
    layer = nn.Linear(4, 2)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    before = layer.weight.detach().clone()
    with wrapper.optim_context(layer):
        output = layer(torch.randn(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().pow(2).sum())
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight, before)
    assert isinstance(wrapper, OptimWrapper)
