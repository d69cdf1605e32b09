"""The start of CCD's second stage."""

from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from mlic.engine.mmengine_internals import unwrap
from mlic.engine.runner.class_means import training_means

from .ccd_head import CCDHead


@HOOKS.register_module()
class ContextMemoryHook(StageRestartHook):
    """Start the second stage of CCD at an epoch.

    At the start of epoch ``begin`` the mean feature of each class over all training images that
    have it, under the test pipeline, becomes the memory of ``CCDHead``. The released code takes
    the augmented images, leaves out the rest of an incomplete batch, and has on each process the
    means of that process's images; here they are those of the whole training set. A class without
    training images has a memory of zeros; there it makes all scores NaN. The rest is
    ``StageRestartHook``'s.

    Args:
        begin (int): See ``StageRestartHook``. The published command has 7.
        start_from (str): See ``StageRestartHook``. Defaults to 'last', as published.

    Example:
        >>> import projects.ccd  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='ContextMemoryHook', begin=7)  # in custom_hooks
        >>> HOOKS.build(config).start_from
        'last'
    """

    first_stage = ' (the same config without ContextMemoryHook)'
    reads_training_set = True

    def __init__(self, begin: int, start_from: str = 'last') -> None:
        super().__init__(begin, start_from)

    def before_train(self, runner: Runner) -> None:
        """Check that the stage can start.

        Raises:
            TypeError: If the head has no such memory.
            ValueError: If the stage would fail when it starts: a training set without a pipeline,
                no multi-hot labels.
        """
        model = unwrap(runner.model)
        if not isinstance(model.head, CCDHead):
            raise TypeError(f'ContextMemoryHook needs a CCDHead, got {type(model.head).__name__}')
        if not getattr(model.data_preprocessor, 'to_onehot', False):
            raise ValueError('ContextMemoryHook needs data_preprocessor.to_onehot=True')
        super().before_train(runner)
        model.head.second_stage.fill_(self.has_started(runner))

    def start_stage(self, runner: Runner, model: nn.Module) -> str:
        """Give the head its memory, which starts its second stage."""
        memory = training_means(runner, model, 'Memory', of=model.head.mean_feature)
        model.head.start_second_stage(memory)
        self.share(model.head)
        return f'Second stage starts at epoch {self.begin}: context is taken out of the scores'
