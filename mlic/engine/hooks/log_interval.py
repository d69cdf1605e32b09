"""When the host asks the device: where a line of the log or a checkpoint follows."""

from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner


def checkpoint_follows(runner: Runner) -> bool:
    """Whether a checkpoint within the epoch is due after this iteration."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch:
            is_last = hook.save_last and hook.is_last_train_iter(runner)
            if is_last or hook.every_n_train_iters(runner, hook.interval, hook.save_begin):
                return True
    return False


def values_are_due(runner: Runner, batch_idx: int) -> bool:
    """Whether somebody reads after this iteration what the device has computed.

    That is every ``default_hooks.logger.interval`` iterations (each one, without a ``LoggerHook``),
    at the end of an epoch, and before a checkpoint. All processes agree.
    """
    intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return (
        Hook().every_n_inner_iters(batch_idx, min(intervals, default=1))
        or Hook().end_of_epoch(runner.train_dataloader, batch_idx)
        or checkpoint_follows(runner)
    )
