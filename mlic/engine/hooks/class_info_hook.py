"""What the training set says of its classes reaches the modules that ask for it."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from mlic.class_info import ClassInfo
from mlic.datasets.wrappers import classes_of, innermost
from mlic.engine.mmengine_internals import has_loaded, is_resuming, unwrap


@HOOKS.register_module()
class ClassInfoHook(Hook):
    """Give names and counts of the training set's classes to the model before the first iteration.

    See :func:`learn_classes`; the log has what the modules answer. All processes see the whole
    training set, and so the same. A run that is resumed has it in its checkpoint, and learns
    nothing again: files that have changed since, or are no longer there, do not change it.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='ClassInfoHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Let the modules learn."""
        if not (is_resuming(runner) and has_loaded(runner)):
            for line in learn_classes(unwrap(runner.model), runner.train_dataloader.dataset):
                runner.logger.info(line)


def learn_classes(model: nn.Module, dataset: Dataset) -> list[str]:
    """Each module with a method ``learn_classes`` gets a ``ClassInfo``; returns what they say.

    Label graphs count which classes occur together, label vectors look up the names. Labels are
    counted only if somebody asks.

    Raises:
        ValueError: If a module asks and the data set names no classes.
    """
    modules = [module for module in model.modules() if hasattr(module, 'learn_classes')]
    names = classes_of(dataset)
    if modules and names is None:
        raise ValueError(
            f'{type(modules[0]).__name__} needs the names of the classes, and '
            f'{type(innermost(dataset)).__name__} has none (metainfo)'
        )
    info = ClassInfo(dataset, names or ())
    return [line for module in modules for line in module.learn_classes(info)]
