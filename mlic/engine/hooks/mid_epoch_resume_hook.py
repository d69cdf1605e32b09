"""Where a resumed run continues: at the right batch, after the right validation."""

from collections.abc import Iterator
from itertools import islice

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import BatchSampler, Sampler

from mlic.engine.mmengine_internals import accumulative_counts, fit_schedule, is_resuming


class SkippingSampler(Sampler):
    """A sampler without its first indices, but with its whole length."""

    def __init__(self, sampler: Sampler, num_skipped: int) -> None:
        self.sampler = sampler
        self.num_skipped = num_skipped

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, self.num_skipped, None)

    def __len__(self) -> int:
        # of the epoch, not of its rest: the schedule and the progress count in it
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on."""
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)


@HOOKS.register_module()
class MidEpochResumeHook(Hook):
    """Resume within an epoch: with the first batch that the checkpoint has not seen.

    mmengine repeats the epoch from its beginning. Checkpoints within an epoch are written with
    ``default_hooks.checkpoint=dict(by_epoch=False, interval=ITERATIONS)``; an iteration's batch
    number, in the log too, is that of the uninterrupted run.

    With another number of iterations an epoch (fewer GPUs, say), a checkpoint of the end of an
    epoch still serves: schedules move to the same epoch.

    A checkpoint written between two steps of ``optim_wrapper.accumulative_counts`` lacks the
    gradient gathered so far; where the intervals allow that, a warning says so at the start.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='MidEpochResumeHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    priority = 'VERY_HIGH'
    epoch_length = None  # iterations, where one process is built for several; else the loader's

    def __init__(self) -> None:
        self.stored = {}
        self.restore = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the order of the data over, and fit the position to this run's epochs.

        Raises:
            ValueError: If the checkpoint lies within an epoch of another number of iterations.
        """
        if is_resuming(runner):
            _keep_fused(runner, checkpoint)
            self.stored = checkpoint.get('data_order', {})
            now = self.epoch_length or len(runner.train_dataloader)
            length = self.stored.get('epoch_length', now)
            if length != now:
                _fit_to_length(runner, checkpoint, length, now)

    def before_train(self, runner: Runner) -> None:
        """Shuffle as the checkpoint's run did."""
        if self.stored.get('sampler_seed') is not None:
            runner.train_dataloader.sampler.seed = self.stored['sampler_seed']
        _lay_out_states(runner)
        _warn_of_partial_gradients(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip what the epoch has done, where it has begun before.

        Raises:
            ValueError: If the loader has a batch sampler of unknown habits.
        """
        loader, loop = runner.train_dataloader, runner.train_loop
        done = runner.iter - runner.epoch * len(loader)
        if done == 0:
            return
        batch_sampler = loader.batch_sampler
        if type(batch_sampler) is not BatchSampler:
            raise ValueError(  # mmengine makes its own of a TypeError in a hook
                f'cannot resume within an epoch: {type(batch_sampler).__name__} may not be '
                'skipped batch by batch. Resume from a checkpoint of the end of an epoch'
            )
        runner.logger.info(
            f'Epoch {runner.epoch + 1} continues after {done} of {len(loader)} iterations.'
        )
        sampler, run_iter = batch_sampler.sampler, loop.run_iter
        batch_sampler.sampler = SkippingSampler(sampler, done * batch_sampler.batch_size)
        # the loop numbers the batches that arrive from 0
        loop.run_iter = lambda index, batch: run_iter(index + done, batch)

        def restore() -> None:
            batch_sampler.sampler = sampler
            del loop.run_iter

        self.restore = restore

    def after_train_epoch(self, runner: Runner) -> None:
        """The next epoch is a whole one."""
        if self.restore is not None:
            self.restore()
            self.restore = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the order of the data."""
        loader = runner.train_dataloader
        seed = getattr(loader.sampler, 'seed', None)
        checkpoint['data_order'] = dict(epoch_length=len(loader), sampler_seed=seed)


def _fit_to_length(runner: Runner, checkpoint: dict, length: int, now: int) -> None:
    """Move iteration and schedules to the same epoch of this run's number of iterations."""
    meta = checkpoint['meta']
    change = (
        f'the checkpoint comes from epochs of {length} iterations, and this run has {now} '
        '(another number of images, of processes or of images in a batch)'
    )
    if meta['iter'] != meta['epoch'] * length:
        raise ValueError(
            f'{change}: a position within an epoch has no counterpart. Resume from a checkpoint '
            'of the end of an epoch, or with the same processes x train_dataloader.batch_size'
        )
    runner.logger.warning(
        f'{change}: the schedules continue at the end of epoch {meta["epoch"]}. Learning rates '
        'stay those of the checkpoint.'
    )
    meta['iter'] = meta['epoch'] * now
    for scheduler, state in zip(
        runner.param_schedulers or [], checkpoint.get('param_schedulers', [])
    ):
        if not scheduler.by_epoch:
            fit_schedule(scheduler, state, length, now)


def _warn_of_partial_gradients(runner: Runner) -> None:
    """Say where a checkpoint falls between two steps of the optimizer."""
    counts = accumulative_counts(runner.optim_wrapper)
    length = len(runner.train_dataloader)
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or hook.interval < 1:
            continue
        every = hook.interval * length if hook.by_epoch else hook.interval
        if every % counts:
            runner.logger.warning(
                f'A checkpoint is written every {every} iterations, and the optimizer steps '
                f'every {counts} (accumulative_counts): some checkpoints fall between two '
                'steps, and a run resumed from one lacks the gradient gathered so far.'
            )


def _lay_out_states(runner: Runner) -> None:
    """Give the optimizer's states the memory layout of their parameters, not the checkpoint's.

    Fused steps take both in the order of their memory: with other layouts (``channels_last``) CUDA
    refuses, and a CPU mixes the elements up.
    """
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    for parameter, state in optimizer.state.items() if optimizer is not None else ():
        for name, value in state.items():
            same = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if same and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _keep_fused(runner: Runner, checkpoint: dict) -> None:
    """How a step is computed is this machine's matter, not the checkpoint's."""
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    for group in checkpoint.get('optimizer', {}).get('param_groups', []):
        if 'fused' in group and isinstance(optimizer, torch.optim.Optimizer):
            group['fused'] = optimizer.defaults.get('fused')
