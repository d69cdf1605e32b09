"""What the training set says of its classes reaches the modules that ask for it."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mlic.class_info import ClassInfo
from mlic.engine.mmengine_internals import unwrap

from .class_count_check_hook import innermost


@HOOKS.register_module()
class ClassInfoHook(Hook):
    """Give names and counts of the training set's classes to the model before the first iteration.

    Each module with a method ``learn_classes`` gets a ``ClassInfo``: label graphs count which
    classes occur together, label vectors look up the names. The log has what they answer. All
    processes see the whole training set, and so the same. Labels are counted only if somebody asks.

    Raises:
        ValueError: If a module asks and the data set names no classes.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Let the modules learn; a run that is resumed learns the same again."""
        modules = [m for m in unwrap(runner.model).modules() if hasattr(m, 'learn_classes')]
        if not modules:
            return
        dataset = runner.train_dataloader.dataset
        names = getattr(innermost(dataset), 'CLASSES', None)
        if names is None:
            raise ValueError(
                f'{type(modules[0]).__name__} needs the names of the classes, and '
                f'{type(innermost(dataset)).__name__} has none (metainfo)'
            )
        info = ClassInfo(dataset, names)
        for module in modules:
            for line in module.learn_classes(info):
                runner.logger.info(line)
