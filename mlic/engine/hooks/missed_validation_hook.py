"""The validation that a killed run has missed, and that of the last epoch."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from mlic.engine.mmengine_internals import validate_last_epoch, validation_interval


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate first, if the checkpoint that a run resumes from was not validated.

    A checkpoint is written at the end of an epoch, and the validation follows: what it changes
    (best score, early stopping's count) would be lost with a run that is killed after the save.
    The last epoch is validated whatever the interval, with an mmengine before 0.10.4, too.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='MissedValidationHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'LOWEST'
    """

    # in before_train, after CheckpointHook knows where to save
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Make up for the validation of the epoch that the run resumes from."""
        hub, loop = runner.message_hub, runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            validate_last_epoch(loop)
        if runner.epoch == 0 or runner.iter != runner.epoch * len(loop.dataloader):
            return
        if runner.val_loop is None or runner.epoch < loop.val_begin:
            return
        is_due = runner.epoch % validation_interval(loop) == 0
        if is_due and hub.runtime_info.get('last_validation') != runner.epoch:
            runner.logger.info(
                f'The checkpoint of epoch {runner.epoch} was not validated: validation first.'
            )
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Note which epoch is validated: in every checkpoint that the validation may write."""
        runner.message_hub.update_info('last_validation', runner.epoch)
