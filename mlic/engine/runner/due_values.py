"""When the host asks the device: where a line of the log or a checkpoint follows."""

from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner

from mlic.engine.hooks.early_logger_hook import EarlyLoggerHook


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
    early in a run, at the end of an epoch, and before a checkpoint. All processes agree.
    """
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return (
        Hook().every_n_inner_iters(batch_idx, min([x.interval for x in loggers], default=1))
        or any(isinstance(x, EarlyLoggerHook) and x.is_early(batch_idx, 'train') for x in loggers)
        or Hook().end_of_epoch(runner.train_dataloader, batch_idx)
        or checkpoint_follows(runner)
    )
