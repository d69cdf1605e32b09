"""A line in the log when training waits for its data."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class LoaderCheckHook(Hook):
    """Say once when training waits for the data loader.

    After an epoch, the time spent waiting for data is compared with the whole. mmengine's
    ``IterTimerHook`` measures both.

    Args:
        limit (float): Share of the time that is worth a line. Defaults to 0.25.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='LoaderCheckHook', limit=0.5)  # in custom_hooks
        >>> HOOKS.build(config).limit
        0.5
    """

    # reads what IterTimerHook and LoggerHook have of the epoch
    priority = 'LOWEST'

    def __init__(self, limit: float = 0.25) -> None:
        self.limit = limit
        self.said = False

    def after_train_epoch(self, runner: Runner) -> None:
        """Compare the two over the epoch, without its first iterations, which start the workers."""
        scalars = runner.message_hub.log_scalars
        if self.said or not {'train/time', 'train/data_time'} <= scalars.keys():
            return
        window = max(1, len(runner.train_dataloader) - 5)
        whole = scalars['train/time'].mean(window)
        waiting = scalars['train/data_time'].mean(window)
        if waiting <= self.limit * whole:
            return
        self.said = True
        workers = runner.train_dataloader.num_workers
        runner.logger.warning(
            f'The data loader is the bottleneck: {waiting:.3f} of {whole:.3f} s of an iteration '
            f'are spent waiting for it. train_dataloader.num_workers is {workers}; more may help, '
            'and so may smaller image files'
        )
