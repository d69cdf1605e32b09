"""A test of the right weights against the right labels."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mlic.engine.checkpoints.matching import check_fit
from mlic.engine.mmengine_internals import source_of_weights


class CheckpointFitHook(Hook):
    """Refuse to test weights of another model, or against labels of other classes.

    mmengine loads what fits, logs the rest, and continues with random weights.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with model and test data.

        Raises:
            CheckpointError: If weights or classes differ.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = getattr(runner.test_dataloader.dataset, 'metainfo', {}).get('classes')
        check_fit(checkpoint, model, classes, source_of_weights(runner))
