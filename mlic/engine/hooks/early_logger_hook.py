"""A line of the log early in a run."""

import re
from collections import Counter
from unittest.mock import patch

from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

TIMES = re.compile(r'(^|/)(data_)?time$')  # what an epoch's line has the mean of
EARLY = dict(train=(1, 10), val=(1,), test=(1,))  # iterations, counted from the start of the run


@HOOKS.register_module()
class EarlyLoggerHook(LoggerHook):
    """mmengine's ``LoggerHook``, and lines after the first and the tenth iteration of a run.

    They show that a run with long iterations is alive, and how long it will take. Validation and
    test have such a line after their first iteration. These lines are text only: the rows of
    scalars that figures are drawn from stay ``interval`` iterations apart.

    What validation and test measure is logged as it is: mmengine would average a metric with "loss"
    in its name, such as a ranking loss, over the last validations.

    Args:
        interval (int): Iterations between two lines. Defaults to 10.
        **kwargs: Further arguments of ``LoggerHook``.

    Example:
        >>> from mlic.engine import EarlyLoggerHook
        >>> hook = EarlyLoggerHook(interval=50)
        >>> hook.iterations['train'] = 10
        >>> hook.is_early(9, 'train'), hook.is_early(49, 'train')
        (True, False)
    """

    def __init__(self, interval: int = 10, **kwargs) -> None:
        super().__init__(interval, **kwargs)
        self.iterations: Counter = Counter()  # of each mode, since the run was started or resumed

    def is_early(self, batch_idx: int, mode: str) -> bool:
        """Whether an early line follows this iteration; where another does, none is needed."""
        regular = self.every_n_inner_iters(batch_idx, self.interval)
        return self.iterations[mode] in EARLY[mode] and not regular

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch=None, mode='train') -> None:
        """Count."""
        self.iterations[mode] += 1

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Log as mmengine does, or early."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._log_early(runner, batch_idx, 'train')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Log as mmengine does, or early."""
        super().after_val_iter(runner, batch_idx, data_batch, outputs)
        self._log_early(runner, batch_idx, 'val')

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Log as mmengine does, or early."""
        super().after_test_iter(runner, batch_idx, data_batch, outputs)
        self._log_early(runner, batch_idx, 'test')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the metrics, none of them averaged."""
        with patch.object(runner.log_processor, 'mean_pattern', TIMES):
            super().after_val_epoch(runner, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the metrics, none of them averaged."""
        with patch.object(runner.log_processor, 'mean_pattern', TIMES):
            super().after_test_epoch(runner, metrics)

    def _log_early(self, runner: Runner, batch_idx: int, mode: str) -> None:
        is_last = self.end_of_epoch(getattr(runner, f'{mode}_dataloader'), batch_idx)
        if self.is_early(batch_idx, mode) and not is_last:  # the last has a line of its own
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, mode)
            runner.logger.info(line)
