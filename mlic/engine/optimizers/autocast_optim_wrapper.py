"""Mixed precision without CUDA, where mmengine's AmpOptimWrapper refuses to start."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Autocast to bfloat16 where the model is, without a loss scaler (bfloat16 needs none).

    Args:
        **kwargs: As ``OptimWrapper``'s.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from mlic.engine import AutocastOptimWrapper
        >>> model = nn.Linear(4, 2)
        >>> wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     model(torch.rand(1, 4)).dtype
        ...
        torch.bfloat16
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """mmengine's context, and an autocast of the CPU or of Apple's MPS."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
