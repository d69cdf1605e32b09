"""The moving average of the weights, in few steps and of what can change."""

import torch
from mmengine.model import ExponentialMovingAverage, is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.engine.hooks import EMAHook
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.sgd import sgd

from mlic.engine.mmengine_internals import accumulative_counts, has_stepped
from mlic.engine.runner.buffers import row_buffers

from .finite_loss_hook import FiniteLossHook

LARGEST_MOMENTUM = 0.5  # of a run of a few iterations
STATISTICS = ('running_mean', 'running_var')  # of a batch norm


@HOOKS.register_module()
class ForeachEMAHook(EMAHook):
    r"""mmpretrain's ``EMAHook`` with a few launches per step instead of one per tensor.

    - Averaged are the parameters that require a gradient; the others are the model's.
    - It counts the optimizer's steps: of iterations that are accumulated, the last.
    - Buffers are not averaged (mmengine copies them in each iteration), but for ``statistics``:
      both models have the same ones. Row buffers, such as a memory bank, are not saved a second
      time.
    - An iteration that ``FiniteLossHook`` takes back leaves the average alone; with a fused
      optimizer the device decides that.

    Checkpoints of the one can be resumed with the other. What is more than a plain
    ``ExponentialMovingAverage`` of the parameters goes mmengine's way.

    Args:
        horizon (float, optional): The share of the run that is averaged over, instead of
            ``momentum``, which is then one over that many iterations, with two digits, and at most
            0.5. Defaults to None.
        statistics (bool): Average the running statistics of batch norms, too, as the code of ASL,
            and of what follows it, does. Defaults to False.
        **kwargs: As ``EMAHook``'s.

    Raises:
        ValueError: If the horizon is not above 0 and at most 1, or given with a momentum; for
            ``statistics`` of another average than the plain one of the parameters; for a second
            average in the run.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='ForeachEMAHook', horizon=0.05)  # in custom_hooks
        >>> HOOKS.build(config).horizon
        0.05
    """

    def __init__(
        self, *args, horizon: float | None = None, statistics: bool = False, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if horizon is not None and 'momentum' in kwargs:
            raise ValueError(
                f'horizon={horizon} and momentum={kwargs["momentum"]} both set '
                'how long an average remembers: give one of them'
            )
        if horizon is not None and not 0 < horizon <= 1:
            raise ValueError(f'horizon must lie above 0 and not above 1, got {horizon}')
        self.horizon = horizon
        self.statistics = statistics
        self._left: list[tuple[int, int]] = []

    def before_run(self, runner: Runner) -> None:
        """Make the copy of the model whose parameters are the averages.

        The averages of a training stay for a test that follows: mmengine replaces them by the
        model's own weights, which the test would then measure. They do not if the model has got
        other weights since.

        Raises:
            ValueError: If ``statistics`` has another average, or it is not on the model's device.
        """
        if self._left and self._left == _versions(_bare(runner.model)) and self.ema_model.steps:
            return
        if self.horizon is not None:
            steps = runner.max_iters / accumulative_counts(runner.optim_wrapper)
            steps = max(self.horizon * steps, 1)  # 0 in a test
            self.ema_cfg['momentum'] = min(float(f'{1 / steps:.2g}'), LARGEST_MOMENTUM)
        super().before_run(runner)
        average, self._pairs = self.ema_model, None
        devices = {
            p.device for model in (average.module, self.src_model) for p in model.parameters()
        }
        self.is_plain = (
            type(average) is ExponentialMovingAverage
            and not average.update_buffers
            and len(devices) == 1
        )
        if self.statistics and not self.is_plain:
            raise ValueError(
                'ForeachEMAHook(statistics=True) goes with ExponentialMovingAverage on the '
                "model's device: set update_buffers=True instead"
            )
        self._finite_loss = next((h for h in runner.hooks if isinstance(h, FiniteLossHook)), None)
        self._share_buffers()

    def after_run(self, runner: Runner) -> None:
        """Note with which weights the model is left."""
        self._left = _versions(self.src_model)

    def before_train_epoch(self, runner: Runner) -> None:
        """Have what is averaged looked up anew, once an epoch."""
        super().before_train_epoch(runner)
        self._pairs = None

    @torch.no_grad()
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Move the averages, after a step."""
        if not has_stepped(runner.optim_wrapper):
            return
        if not self.is_plain:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            return
        average = self.ema_model
        if self._pairs is None:
            models = average.module, self.src_model
            every = list(zip(*(model.parameters() for model in models)))
            statistics = list(self.averaged_statistics().values())
            moving = [(mean, new) for mean, new in every if new.requires_grad]
            pairs = every + statistics, moving + statistics
            self._pairs = [([mean for mean, _ in some], [new for _, new in some]) for some in pairs]
        steps, has_started = int(average.steps), self._ema_started(runner)
        every, moving = self._pairs
        if not has_started or steps == 0:
            torch._foreach_copy_(*every)
        elif steps % average.interval == 0:
            self._move(*moving)
        average.steps += int(has_started)

    def averaged_statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What ``statistics`` averages: the means and the model's own, by the buffer's name."""
        modules = zip(self.src_model.named_modules(), self.ema_model.module.modules())
        return {
            f'{name}.{key}': (getattr(ours, key), getattr(source, key))
            for (name, source), ours in modules
            if self.statistics and _has_statistics(source)
            for key in STATISTICS
        }

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
        return [f'module.{name}' for name in row_buffers(self.src_model)] if self.is_plain else []

    def _share_buffers(self) -> None:
        """Give the averaged model the buffers that the model has now, but for its own averages."""
        if not self.is_plain:
            return
        for ours, source in zip(self.ema_model.module.modules(), self.src_model.modules()):
            own = STATISTICS if self.statistics and _has_statistics(source) else ()
            for name, buffer in source.named_buffers(recurse=False):
                if name not in own:
                    setattr(ours, name, buffer)


def _bare(model: nn.Module) -> nn.Module:
    """A model without what distributes it."""
    return model.module if is_model_wrapper(model) else model


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    """What changes with the weights: each parameter, and how often it was written to."""
    return [(id(parameter), parameter._version) for parameter in model.parameters()]


def _has_statistics(module: nn.Module) -> bool:
    """Whether it is a batch norm that keeps running statistics."""
    return isinstance(module, _NormBase) and module.running_mean is not None
