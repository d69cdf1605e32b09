"""Convolutions in the memory format that tensor cores prefer."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep weights and feature maps with the channels last, which tensor cores prefer.

    Add ``dict(type='ChannelsLastHook')`` to ``custom_hooks``. The numbers stay the same up to
    rounding, and so do checkpoints.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the model's weights; feature maps follow the first convolution."""
        runner.model.to(memory_format=torch.channels_last)
