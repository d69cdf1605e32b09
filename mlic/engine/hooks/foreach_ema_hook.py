"""The moving average of the weights, in few steps and of what can change."""

from itertools import compress

import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.engine.hooks import EMAHook
from mmpretrain.registry import HOOKS
from torch.optim.sgd import sgd

from mlic.models.training_parts import parts_of

from .finite_loss_hook import FiniteLossHook

LARGEST_MOMENTUM = 0.5  # of a run of a few iterations


@HOOKS.register_module()
class ForeachEMAHook(EMAHook):
    r"""mmpretrain's ``EMAHook`` with a few launches per step instead of one per tensor.

    - Averaged are the parameters that require a gradient; the others are the model's.
    - Buffers are not averaged (mmengine copies them in each iteration): both models have the same
      ones. Row buffers, such as a memory bank, are not saved a second time.
    - An iteration that ``FiniteLossHook`` takes back leaves the average alone; with a fused
      optimizer the device decides that.

    Checkpoints of the one can be resumed with the other. What is more than a plain
    ``ExponentialMovingAverage`` of the parameters goes mmengine's way.

    Args:
        horizon (float, optional): The share of the run that is averaged over, instead of
            ``momentum``, which is then one over so many iterations, with two digits, and at most
            0.5. Defaults to None.
        **kwargs: As ``EMAHook``'s.

    Raises:
        ValueError: If the horizon is not above 0 and at most 1, or given with a momentum.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='ForeachEMAHook', horizon=0.05)  # in custom_hooks
        >>> HOOKS.build(config).horizon
        0.05
    """

    def __init__(self, *args, horizon: float | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if horizon is not None and 'momentum' in kwargs:
            raise ValueError(
                f'horizon={horizon} and momentum={kwargs["momentum"]} both set '
                'how long an average remembers: give one of them'
            )
        if horizon is not None and not 0 < horizon <= 1:
            raise ValueError(f'horizon must lie above 0 and not above 1, got {horizon}')
        self.horizon = horizon

    def before_run(self, runner: Runner) -> None:
        """Make the copy of the model whose parameters are the averages."""
        if self.horizon is not None:
            iterations = max(self.horizon * runner.max_iters, 1)  # 0 in a test
            self.ema_cfg['momentum'] = min(float(f'{1 / iterations:.2g}'), LARGEST_MOMENTUM)
        super().before_run(runner)
        average, self._parameters = self.ema_model, None
        devices = {
            p.device for model in (average.module, self.src_model) for p in model.parameters()
        }
        self.is_plain = (
            type(average) is ExponentialMovingAverage
            and not average.update_buffers
            and len(devices) == 1
        )
        self._finite_loss = next((h for h in runner.hooks if isinstance(h, FiniteLossHook)), None)
        self._share_buffers()

    def before_train_epoch(self, runner: Runner) -> None:
        """Have the parameters looked up anew, once an epoch."""
        super().before_train_epoch(runner)
        self._parameters = None

    @torch.no_grad()
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Move the averages."""
        if not self.is_plain:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            return
        average = self.ema_model
        if self._parameters is None:
            models = average.module, self.src_model
            self._parameters = [list(model.parameters()) for model in models]
        means, new = self._parameters
        steps, has_started = int(average.steps), self._ema_started(runner)
        if not has_started or steps == 0:
            torch._foreach_copy_(means, new)
        elif steps % average.interval == 0:
            can_change = [parameter.requires_grad for parameter in new]
            self._move(list(compress(means, can_change)), list(compress(new, can_change)))
        average.steps += int(has_started)

    def _move(self, means: list, new: list) -> None:
        r""":math:`mean \mathrel{-}= momentum \cdot (mean - new)`, of a finite iteration."""
        momentum = self.ema_model.momentum
        not_finite = getattr(self._finite_loss, 'not_finite', False)
        if isinstance(not_finite, torch.Tensor):
            # the step of gradient descent on (mean - new)^2 / 2, which heeds the device's flag
            settings = dict(weight_decay=1.0, momentum=0.0, dampening=0.0, nesterov=False)
            sgd(
                means,
                new,
                [None] * len(means),
                fused=True,
                found_inf=not_finite,
                lr=momentum,
                maximize=True,
                **settings,
            )
        elif not not_finite:
            torch._foreach_lerp_(means, new, momentum)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """mmengine's, without the row buffers a second time."""
        self._share_buffers()
        super().before_save_checkpoint(runner, checkpoint)
        for name in self._row_buffers():
            checkpoint['ema_state_dict'].pop(name, None)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """mmengine's, with the row buffers that a checkpoint of this hook has only once."""
        if 'ema_state_dict' in checkpoint:
            for name in self._row_buffers():
                value = checkpoint['state_dict'].get(name.removeprefix('module.'))
                if value is not None:
                    checkpoint['ema_state_dict'].setdefault(name, value)
        super().after_load_checkpoint(runner, checkpoint)

    def _row_buffers(self) -> list[str]:
        """The names that row buffers have in the state dict of the averages."""
        if not self.is_plain:
            return []
        return [
            '.'.join(filter(None, ('module', module_name, name)))
            for module_name, module in parts_of(self.src_model)
            for name in module.row_buffers
        ]

    def _share_buffers(self) -> None:
        """Give the averaged model the buffers that the model has now."""
        if self.is_plain:
            for ours, source in zip(self.ema_model.module.modules(), self.src_model.modules()):
                for name, buffer in source.named_buffers(recurse=False):
                    setattr(ours, name, buffer)
