"""Losses and gradient norms for the log, asked of the device where the log is written."""

from collections import defaultdict

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mlic.engine.runner.due_values import values_are_due


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, without the host waiting in every iteration.

    The losses, and the gradient's norm where ``optim_wrapper.clip_grad`` measures it, stay on the
    device until a line of the log or a checkpoint is due; then the values of all iterations since
    come over in one copy, and the message hub has what it always had.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='DeferredInfoHook')  # default_hooks.runtime_info
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[str, Tensor | float]] = []
        self._restore = lambda: None

    def before_train(self, runner: Runner) -> None:
        """Let clipping keep its norm on the device, where mmengine would ask for it at once."""
        super().before_train(runner)
        self._restore()  # what a training that was interrupted left
        wrapper = runner.optim_wrapper
        if not getattr(wrapper, 'clip_grad_kwargs', None):
            return
        clip, name = wrapper.clip_func, f'train/{wrapper.grad_name}'

        def clip_only(parameters: list[Tensor], **settings) -> None:
            norm = clip(parameters, **settings)
            if norm is not None:  # clipped by value, there is none
                self.waiting.append((name, norm))

        wrapper.clip_func = clip_only
        self._restore = lambda: setattr(wrapper, 'clip_func', clip)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Keep the values; hand them on where they are due."""
        for name, value in (outputs or {}).items():
            value = value.detach().reshape(()) if isinstance(value, Tensor) else value
            self.waiting.append((f'train/{name}', value))
        if values_are_due(runner, batch_idx):
            self._hand_on(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """A validation may come between two lines of the log."""
        self._hand_on(runner)

    def after_train(self, runner: Runner) -> None:
        """Nothing is left waiting."""
        self._hand_on(runner)
        self._restore()
        super().after_train(runner)

    def _hand_on(self, runner: Runner) -> None:
        """Give the message hub the values in the order of the iterations."""
        waiting, self.waiting = self.waiting, []
        kinds = defaultdict(list)
        for index, (_, value) in enumerate(waiting):
            if isinstance(value, Tensor):
                kinds[value.device, value.dtype].append(index)
        for indices in kinds.values():
            numbers = torch.stack([waiting[index][1] for index in indices]).tolist()
            for index, number in zip(indices, numbers):
                waiting[index] = waiting[index][0], number
        for name, value in waiting:
            runner.message_hub.update_scalar(name, value)
