"""A loss or a gradient that is not finite costs one iteration, not the run."""

import math

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mlic.engine.mmengine_internals import count_iteration, mark_as_counted, unwrap

# of a loss scaler: it starts at 2^16 and halves at each overflow
SMALLEST_SCALE = 2.0**-14


class NonFiniteLossError(RuntimeError):
    """Training that no longer gives finite losses; the message is one line."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Skip iterations whose loss or gradient is not finite, on all ranks together.

    A loss of NaN or infinity on any rank: no rank runs a backward pass or a step. With gradient
    accumulation, what the group has gathered so far is dropped, too. A finite loss with a
    non-finite gradient: no step; where a loss scaler is (mixed precision), that is its own business
    and normal, until its scale has fallen below 2^-14, which ends the training. In both cases every
    buffer of the model (running statistics, memory bank) goes back to what it was before the
    iteration. The schedules and the average of the weights go on.

    Each skip is logged with the images of the ranks that had it. Works with every
    ``OptimWrapper``; costs one scalar all-reduce, the gradient's norm, and a copy of the buffers
    an iteration.

    Args:
        max_in_a_row (int): So many skips without a good iteration between them end the training.
            Defaults to 10.
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

    def before_train(self, runner: Runner) -> None:
        """Put the checks around the optimizer wrapper's update and step."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise TypeError(
                f'FiniteLossHook needs one OptimWrapper, got {type(wrapper).__name__}: remove the '
                'hook from custom_hooks'
            )
        self.total = runner.message_hub.get_info('skipped_iterations', 0)
        self._runner = runner
        self._update, self._step = wrapper.update_params, wrapper.step
        wrapper.update_params = self._guarded_update
        scaled = hasattr(wrapper, 'loss_scaler')
        wrapper.step = self._scaled_step if scaled else self._guarded_step
        self._model = unwrap(runner.model)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Remember the batch's images, and the buffers as they are."""
        samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
        self.images = [str(sample.get('img_path', 'an image without a path')) for sample in samples]
        self.gathered += self.images
        self._kept = {name: buffer.clone() for name, buffer in self._model.named_buffers()}

    def after_train(self, runner: Runner) -> None:
        """Take the checks off again."""
        for name in ('update_params', 'step'):
            vars(runner.optim_wrapper).pop(name, None)

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
        groups = self._runner.optim_wrapper.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group['params']]
        # no limit: this only measures
        norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf).item()
        if math.isfinite(norm):
            self._step(**kwargs)
        else:
            self._skip(f'gradient norm {norm} of a finite loss', self.gathered, True)

    @mark_as_counted
    def _scaled_step(self, **kwargs) -> None:
        """``AmpOptimWrapper.step``, which skips by itself; overflow never takes it this far."""
        self._step(**kwargs)
        scale = self._runner.optim_wrapper.loss_scaler.get_scale()
        if scale < SMALLEST_SCALE:
            raise NonFiniteLossError(
                f'the loss scale fell to {scale}: the gradients are not finite at any scale '
                f'(iteration {self._runner.iter + 1}; images {", ".join(self.gathered)}). '
                f'Last checkpoint: {self._runner.message_hub.get_info("last_ckpt") or "none yet"}'
            )

    def _skip(self, what: str, images: list[str], is_mine: bool) -> None:
        """Put the buffers back, count, log, and stop if it is too often."""
        with torch.no_grad():
            for name, kept in self._kept.items():
                self._model.get_buffer(name).copy_(kept)
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
            f'Iteration {runner.iter + 1} is skipped, {self.in_a_row} in a row, {self.total} in '
            f'all: not finite. {where}'
        )
        if self.in_a_row >= self.max_in_a_row:
            last = runner.message_hub.get_info('last_ckpt') or 'none yet'
            raise NonFiniteLossError(
                f'{self.in_a_row} iterations in a row had a loss or gradient that is not finite '
                f'(iteration {runner.iter + 1}; {where}). Last checkpoint: {last}. A lower '
                'learning rate, or optim_wrapper.clip_grad, may help; so may a look at these images'
            )
