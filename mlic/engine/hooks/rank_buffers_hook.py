"""Buffers that differ between processes, in the one checkpoint that a run writes.

Shapes in this module: W processes, B images of a process's batch, C classes, D embed dims.
"""

from contextlib import ExitStack

import torch
from mmengine import dist
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mlic.engine.checkpoints.training_state import resuming_from
from mlic.engine.mmengine_internals import is_resuming, running_loop, source_of_weights, unwrap
from mlic.engine.runner.buffers import buffers_of_rank_0, row_buffers, saved_buffers
from mlic.engine.runner.due_values import checkpoint_follows
from mlic.models.training_parts import parts_of

from .foreach_ema_hook import ForeachEMAHook


@HOOKS.register_module()
class RankBuffersHook(Hook):
    """Save and resume each process's row buffers and running statistics.

    The model's part of a checkpoint is rank 0's. This hook gathers the buffers in which the
    processes differ (batch norm's running statistics, their averages, and the ``row_buffers`` that
    modules declare, such as a memory bank) where a checkpoint may follow, and hands each process
    its own at resume. Of a row buffer only the B rows that a batch uses are kept, in the order of
    the global batch: row b of rank r is row b * W + r.

    Validation and test predict with rank 0's buffers, but for the row buffers, on every process:
    what is scored is what a checkpoint has.

    Resumed on another number of processes, a row buffer is dealt out anew if the global batch is
    the same, else its module restarts it, with a line in the log; the other buffers are rank 0's.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='RankBuffersHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        85
    """

    # after whatever changes a buffer, before CheckpointHook (90), which only rank 0 goes through
    priority = 85

    def __init__(self) -> None:
        self.stored = None
        self._lent = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """Row buffers get their size before a checkpoint is loaded."""
        if not running_loop(runner)[1]:  # a test must not build the training set
            return
        rows = _batch_size(runner)
        for _, module in parts_of(unwrap(runner.model)):
            if rows is not None:
                module.fit_row_buffers(rows)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the gathered buffers until the model is loaded."""
        if is_resuming(runner):
            self.stored = checkpoint.get('rank_buffers')
            # of one process all rows, which may be more than the model has here
            names = row_buffers(unwrap(runner.model))
            weights = checkpoint['state_dict']
            self.stored_rows = {name: weights[name] for name in names if name in weights}

    def before_train(self, runner: Runner) -> None:
        """Give each process its buffers."""
        if self.stored is not None:
            with resuming_from(source_of_weights(runner)):
                self._restore(runner, self.stored)
            self.stored = None
        self._gather(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather at every epoch's end: a new best score may save, too."""
        self._gather(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Gather where a checkpoint within the epoch is due."""
        if checkpoint_follows(runner):
            self._gather(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the buffers to checkpoints that a run can resume from."""
        if 'optimizer' in checkpoint:
            checkpoint['rank_buffers'] = self.gathered

    def before_val(self, runner: Runner) -> None:
        """Give all processes what a checkpoint has; before ``EMAHook`` changes over."""
        averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
        self._lent.enter_context(buffers_of_rank_0([unwrap(runner.model), *averages]))

    def after_val(self, runner: Runner) -> None:
        """Give each process its own again."""
        self._lent.close()

    before_test, after_test = before_val, after_val

    def _gather(self, runner: Runner) -> None:
        """Collect what differs between the processes; rank 0 keeps it."""
        rows, world_size = _batch_size(runner), dist.get_world_size()
        self.gathered = dict(world_size=world_size, batch_size=rows, buffers={}, rows={})
        if world_size == 1:
            return
        model = unwrap(runner.model)
        in_rows = row_buffers(model)
        for name, buffer in {**saved_buffers(model), **_averaged_statistics(runner)}.items():
            own = buffer[:rows] if name in in_rows else buffer
            copies = [copy.cpu() for copy in dist.all_gather(own.contiguous())]
            if not dist.is_main_process():
                continue
            if name in in_rows:
                self.gathered['rows'][name] = torch.stack(copies, 1).flatten(0, 1)  # (B * W, …)
            elif not all(torch.equal(copy, copies[0]) for copy in copies):
                self.gathered['buffers'][name] = torch.stack(copies)

    @torch.no_grad()
    def _restore(self, runner: Runner, stored: dict) -> None:
        """Set this process's buffers from those of all."""
        rank, world_size = dist.get_dist_info()
        model = unwrap(runner.model)
        buffers = {**saved_buffers(model), **_averaged_statistics(runner)}
        if world_size == stored['world_size']:
            for name in stored['buffers'].keys() & buffers.keys():
                buffers[name].copy_(stored['buffers'][name][rank])
        # older checkpoints know one row buffer
        rows = stored.get('rows', {'head.memory_bank': stored.get('memory_bank')})
        for name, module in row_buffers(model).items():
            buffer = buffers.get(name)
            if buffer is None:  # the module has it only where its losses are on
                continue
            own = buffer[: _batch_size(runner)]
            rows_of_all = rows.get(name)
            if rows_of_all is None:
                rows_of_all = self.stored_rows.get(name, buffer)[: stored['batch_size']]
            if len(rows_of_all) == len(own) * world_size:
                own.copy_(rows_of_all[rank::world_size])
                continue
            start = module.restart_row_buffer(name.rpartition('.')[2])
            runner.logger.warning(
                f'The checkpoint has {name} of {len(rows_of_all)} rows, and this run has '
                f'{world_size} x {len(own)}: it starts from {start} again.'
            )


def _batch_size(runner: Runner) -> int | None:
    """B; None, where the batch sampler does not say it, stands for every row of a buffer."""
    return getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)


def _averaged_statistics(runner: Runner) -> dict[str, Tensor]:
    """Those of ``ForeachEMAHook``, by names of their own."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, ForeachEMAHook)]
    return {
        f'average of {name}': mean
        for hook in hooks[:1]
        for name, (mean, _) in hook.averaged_statistics().items()
    }
