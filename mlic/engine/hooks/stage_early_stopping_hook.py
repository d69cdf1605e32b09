"""Early stopping that ends a stage of the run, not the run."""

import math

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mlic.engine.mmengine_internals import move_to_epoch

STATE = 'stage_stop'  # in the message hub, which a checkpoint keeps


@HOOKS.register_module()
class StageEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook`` for a run of two stages.

    When the monitored metric no longer improves in the first stage, the run continues with epoch
    ``next_stage``: the epochs between are left out, and every schedule is moved there. Each stage
    counts for itself. In the second stage the run ends. Validation runs on the EMA weights where
    an ``EMAHook`` is, so that is what is monitored. Count and best score are in the checkpoint,
    and a resumed run continues counting; mmengine's forgets them.

    Args:
        next_stage (int): First epoch of the second stage, counted from 1, as
            ``StageRestartHook``'s ``begin``. 1, or beyond the run: there is one stage only.
        monitor (str): Key of the metric. Defaults to 'multi-label/mAP'.
        patience (int): Validations without improvement that end a stage. Defaults to 9: the
            published code stops after more than 8.
        min_delta (float): What the metric has to gain for an improvement. Defaults to 1e-6: any
            gain is one, as published; mmengine's 0.1 is a tenth of a point.
        **kwargs: As mmengine's.

    Raises:
        ValueError: If less is better of the metric.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='StageEarlyStoppingHook', next_stage=5)  # in custom_hooks
        >>> HOOKS.build(config).patience
        9
    """

    # before whoever reads the epoch, RuntimeInfoHook (10) included
    priority = 5

    def __init__(
        self,
        next_stage: int,
        monitor: str = 'multi-label/mAP',
        patience: int = 9,
        min_delta: float = 1e-6,
        **kwargs,
    ) -> None:
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, **kwargs)
        if self.rule != 'greater':
            raise ValueError(f'{monitor}: only metrics of which more is better are supported')
        self.next_stage = next_stage
        self.skip_to_next_stage = False

    def before_train(self, runner: Runner) -> None:
        """Take up the count of the run that is resumed."""
        if runner.iter and STATE in runner.message_hub.runtime_info:
            vars(self).update(runner.message_hub.get_info(STATE))

    def before_train_epoch(self, runner: Runner) -> None:
        """Move to the second stage if the first has ended, and count afresh where it begins."""
        if self.skip_to_next_stage:
            runner.logger.info(
                f'Early stopping ends the first stage after epoch {runner.epoch}: continuing with '
                f'epoch {self.next_stage}.'
            )
            move_to_epoch(runner, self.next_stage - 1)
        if runner.epoch + 1 == self.next_stage:
            self.skip_to_next_stage = False
            self.wait_count, self.best_score = 0, -math.inf
            self._store(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """End the first stage, or the run."""
        super().after_val_epoch(runner, metrics)
        is_first = runner.epoch < self.next_stage <= runner.max_epochs
        if runner.train_loop.stop_training and is_first:
            runner.train_loop.stop_training = False
            # after the stage's last epoch there is nothing to leave out
            self.skip_to_next_stage = runner.epoch + 1 < self.next_stage
        self._store(runner)

    def _store(self, runner: Runner) -> None:
        """Put the count where every checkpoint takes it from."""
        state = dict(wait_count=self.wait_count, best_score=float(self.best_score))
        state['skip_to_next_stage'] = self.skip_to_next_stage
        runner.message_hub.update_info(STATE, state)
