"""A loss or a gradient that is not finite costs one iteration, not the run."""

import math
from dataclasses import dataclass

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mlic.engine.mmengine_internals import (
    accumulative_counts,
    count_iteration,
    mark_as_counted,
    unwrap,
)
from mlic.engine.runner.buffers import BufferCopies
from mlic.engine.runner.due_values import values_are_due

# of a loss scaler: it starts at 2^16 and halves at each overflow
SMALLEST_SCALE = 2.0**-14


class NonFiniteLossError(RuntimeError):
    """Training that no longer gives finite losses; the message is one line."""


@dataclass
class _Iteration:
    """What of an iteration has to be reported, if it was taken back; scalars of the device."""

    number: int
    images: list[str]
    loss: Tensor
    bad_loss: Tensor  # on any rank: 1, else 0
    norm: Tensor | None  # of the gradient, where no loss scaler looks at it
    taken_back: Tensor


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Skip iterations whose loss or gradient is not finite, on all ranks together.

    A loss of NaN or infinity on any rank, or a finite loss with a non-finite gradient: no step, and
    every buffer of the model (running statistics, memory bank) goes back to what it was before the
    iteration; ``ForeachEMAHook`` leaves its averages alone. With gradient accumulation, what the
    group has gathered so far is dropped, too. The schedules continue. With a loss scaler (mixed
    precision), overflowing gradients are normal and left to it, until its scale has fallen below
    2^-14, which ends the training.

    With a fused optimizer other than SGD (``optim_wrapper.optimizer.fused=True``, which the tools
    set for Adam and AdamW with CUDA) and no accumulation, the host does not wait: the device skips
    its own step and takes its buffers back. The host asks for what happened where a line of the log
    or a checkpoint is due, and only then logs and counts, and ends the training. Other optimizers
    cost two waits an iteration, and after a loss that is not finite there is no backward pass.

    Each skip is logged with the images of the ranks that had it. Works with every
    ``OptimWrapper``; costs one scalar all-reduce, the gradient's norm, and a copy of the running
    statistics an iteration.

    Args:
        max_in_a_row (int): This many skips without a good iteration between them end the training.
            Defaults to 10.

    Raises:
        ValueError: If ``max_in_a_row`` is below 1.
        NonFiniteLossError: At that many skips, or when the loss scaler's scale has fallen that low.

    Attributes:
        not_finite (bool | Tensor): Whether the iteration that ran last was taken back: a bool, or
            1 and 0 on the device, where the host does not know.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='FiniteLossHook', max_in_a_row=5)  # in custom_hooks
        >>> HOOKS.build(config).max_in_a_row
        5
    """

    # the copy of the buffers comes before whoever may change them
    priority = 'VERY_HIGH'

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row must be at least 1, got {max_in_a_row}')
        self.max_in_a_row = max_in_a_row
        self.in_a_row = 0
        self.total = 0
        self.images: list[str] = []  # of this iteration
        self.gathered: list[str] = []  # of all since the last step
        self.waiting: list[_Iteration] = []  # those that the host has not asked for
        self.not_finite: bool | Tensor = False
        self._pre_hook = None
        self._replaced: dict | None = None  # of the wrapper, while the checks are around it

    def before_train(self, runner: Runner) -> None:
        """Put the checks around the optimizer wrapper's update and step.

        Raises:
            ValueError: If there is not one ``OptimWrapper``.
        """
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or isinstance(wrapper, OptimWrapperDict):
            raise ValueError(  # mmengine makes its own of a TypeError in a hook
                f'FiniteLossHook needs one OptimWrapper, got {type(wrapper).__name__}: remove the '
                'hook from custom_hooks'
            )
        self._take_off(wrapper)  # what a training that was interrupted left
        self.total = runner.message_hub.get_info('skipped_iterations', 0)
        self._runner = runner
        self._copies = BufferCopies(unwrap(runner.model))
        # a scheduler counts the steps by a method of its own
        names = {'update_params', 'step'} & vars(wrapper).keys()
        self._replaced = {name: vars(wrapper)[name] for name in names}
        self._update, self._step = wrapper.update_params, wrapper.step
        self._is_scaled = hasattr(wrapper, 'loss_scaler')
        # as torch's GradScaler asks: whether a step heeds optimizer.found_inf; of SGD's first one
        # that does, the momentum is memory as it was found
        heeds = getattr(wrapper.optimizer, '_step_supports_amp_scaling', False)
        heeds = heeds and not isinstance(wrapper.optimizer, torch.optim.SGD)
        if heeds and accumulative_counts(wrapper) == 1:
            wrapper.update_params = self._flagged_update
            if not self._is_scaled:
                wrapper.step = self._flagged_step
            self._pre_hook = wrapper.optimizer.register_step_pre_hook(self._hold_step)
        else:
            wrapper.update_params = self._guarded_update
            wrapper.step = self._scaled_step if self._is_scaled else self._guarded_step

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Remember the batch's images, and the buffers as they are."""
        samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
        self.images = [str(sample.get('img_path', 'an image without a path')) for sample in samples]
        self.gathered += self.images
        self.not_finite = False
        self._copies.keep()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Ask for what happened, where that is due."""
        if self.waiting and values_are_due(runner, batch_idx):
            self._ask()

    def before_val_epoch(self, runner: Runner) -> None:
        """A validation may be followed by a checkpoint."""
        self._ask()

    def after_train(self, runner: Runner) -> None:
        """Take the checks off again."""
        self._ask()
        self._take_off(runner.optim_wrapper)

    def _take_off(self, wrapper: OptimWrapper) -> None:
        """Give the optimizer wrapper its own update and step."""
        if self._replaced is None:
            return
        for name in ('update_params', 'step'):
            vars(wrapper).pop(name, None)
        vars(wrapper).update(self._replaced)
        self._replaced = None
        if self._pre_hook is not None:
            self._pre_hook.remove()
            self._pre_hook = None
            vars(wrapper.optimizer).pop('found_inf', None)

    # ---- the device decides

    def _flagged_update(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """``OptimWrapper.update_params``, taken back on the device if it was not finite."""
        bad_loss = 1 - torch.isfinite(loss.detach()).all().float()
        dist.all_reduce(bad_loss, 'max')
        self.not_finite, self._norm = bad_loss, None
        self._update(loss, step_kwargs, zero_kwargs)
        self._copies.take_back(self.not_finite.bool())
        images, self.gathered = self.images, []
        number = self._runner.iter + 1
        self.waiting.append(
            _Iteration(number, images, loss.detach(), bad_loss, self._norm, self.not_finite)
        )

    @mark_as_counted
    def _flagged_step(self, **kwargs) -> None:
        """``OptimWrapper.step``, of a gradient that was looked at before it is clipped."""
        self._norm = _gradient_norm(self._runner.optim_wrapper.optimizer)
        self.not_finite = torch.maximum(self.not_finite, 1 - torch.isfinite(self._norm).float())
        self._step(**kwargs)

    def _hold_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """Before a fused step: tell it whether to leave everything as it is."""
        if self._is_scaled:
            optimizer.found_inf = torch.maximum(optimizer.found_inf, self.not_finite)
        else:
            optimizer.found_inf = self.not_finite

    def _ask(self) -> None:
        """Report the iterations that were taken back since the host last asked."""
        if not self.waiting:
            return
        waiting, self.waiting = self.waiting, []
        taken_back = torch.stack([iteration.taken_back for iteration in waiting]).tolist()
        for iteration, bad in zip(waiting, taken_back):
            if not bad:
                self.in_a_row = 0
                continue
            loss, number = iteration.loss.item(), iteration.number
            if iteration.bad_loss.item():
                self._report(f'loss {loss}', iteration.images, not math.isfinite(loss), number)
            else:
                what = f'gradient norm {iteration.norm.item()} of a finite loss'
                self._report(what, iteration.images, True, number)
        if self._is_scaled:
            self._check_scale(waiting[-1].images)

    # ---- the host decides

    def _guarded_update(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """``OptimWrapper.update_params``, of a loss that is finite on every rank."""
        wrapper = self._runner.optim_wrapper
        finite = torch.isfinite(loss.detach()).all().to(torch.uint8)
        dist.all_reduce(finite, 'min')
        if finite.item():
            skipped_before = self.total
            self._update(loss, step_kwargs, zero_kwargs)
            if wrapper.should_update():
                self.gathered = []
                if self.total == skipped_before:
                    self.in_a_row = 0
            return
        wrapper.zero_grad(**(zero_kwargs or {}))
        count_iteration(wrapper)  # the place in its group that this iteration would have had
        self.gathered = []
        self._skip(f'loss {loss.item()}', self.images, not math.isfinite(loss.item()))

    @mark_as_counted
    def _guarded_step(self, **kwargs) -> None:
        """``OptimWrapper.step``, of a finite gradient; under DDP all ranks have the same one."""
        norm = _gradient_norm(self._runner.optim_wrapper.optimizer).item()
        if math.isfinite(norm):
            self._step(**kwargs)
        else:
            self._skip(f'gradient norm {norm} of a finite loss', self.gathered, True)

    @mark_as_counted
    def _scaled_step(self, **kwargs) -> None:
        """``AmpOptimWrapper.step``, which skips by itself; overflow never takes it this far."""
        self._step(**kwargs)
        self._check_scale(self.gathered)

    def _skip(self, what: str, images: list[str], is_mine: bool) -> None:
        """Put the buffers back and report."""
        self.not_finite = True
        device = next(self._copies.model.parameters()).device
        self._copies.take_back(torch.tensor(True, device=device))
        self._report(what, images, is_mine, self._runner.iter + 1)

    # ---- what is said

    def _check_scale(self, images: list[str]) -> None:
        """End the training if no loss scale helps."""
        scale = self._runner.optim_wrapper.loss_scaler.get_scale()
        if scale < SMALLEST_SCALE:
            raise NonFiniteLossError(
                f'the loss scale fell to {scale}: the gradients are not finite at any scale '
                f'(iteration {self._runner.iter + 1}; images {", ".join(images)}). '
                f'Last checkpoint: {self._runner.message_hub.get_info("last_ckpt") or "none yet"}'
            )

    def _report(self, what: str, images: list[str], is_mine: bool, number: int) -> None:
        """Count and log iteration ``number``, and stop if it is too often."""
        self.in_a_row += 1
        self.total += 1
        runner = self._runner
        runner.message_hub.update_info('skipped_iterations', self.total)
        reports = dist.all_gather_object((what, images) if is_mine else None)
        where = '; '.join(
            f'rank {rank}: {report[0]}, images {", ".join(report[1]) or "unknown"}'
            for rank, report in enumerate(reports)
            if report is not None
        )
        runner.logger.warning(
            f'Iteration {number} is skipped, {self.in_a_row} in a row, {self.total} in '
            f'all: not finite. {where}'
        )
        if self.in_a_row >= self.max_in_a_row:
            last = runner.message_hub.get_info('last_ckpt') or 'none yet'
            raise NonFiniteLossError(
                f'{self.in_a_row} iterations in a row had a loss or gradient that is not finite '
                f'(iteration {number}; {where}). Last checkpoint: {last}. A lower '
                'learning rate, or optim_wrapper.clip_grad, may help; so may a look at these images'
            )


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The norm of all gradients, on their device."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
