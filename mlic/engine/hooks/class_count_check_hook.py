"""Do model, data and checkpoint have the same classes?"""

from collections.abc import Sequence

from mmengine.runner import BaseLoop, Runner
from mmpretrain.engine.hooks import ClassNumCheckHook
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from mlic.datasets.wrappers import classes_of, inner_datasets, innermost
from mlic.engine.checkpoints.class_transfer import take_over_weights
from mlic.engine.checkpoints.feature_runs import add_own_backbone
from mlic.engine.checkpoints.matching import check_fit, class_difference
from mlic.engine.mmengine_internals import (
    has_loaded,
    is_resuming,
    running_loop,
    source_of_weights,
    unwrap,
)
from mlic.models.training_parts import mixing_warnings, parts_of
from mlic.names import counted, first_names, repeated


@HOOKS.register_module()
class ClassCountCheckHook(ClassNumCheckHook):
    """mmpretrain's ``ClassNumCheckHook``, which looks into wrappers and checkpoints, too.

    Before the first iteration, every module with a ``num_classes`` must agree with the classes of
    the data set, and the log has the ``start_warnings`` of the modules. It says, in testing too,
    which of them predict an image with a look at the others of its batch. mmpretrain's fails on
    ``RepeatDataset`` and ``ConcatDataset``, and compares what a timm backbone was trained on.

    A checkpoint that is resumed or tested must have the weights of the model, and the classes of
    the data in the same order; one of stored features is tested with the config's pretrained
    backbone. Of one that training starts from (``load_from``), each class takes over what is its
    own, by name (:func:`take_over_weights`); the config's ``load_from_classes`` says which classes
    have another name there. The log says how many are new.

    Raises:
        ValueError: If the numbers differ, or the classes of the validation or of data sets that
            are put together do, or ``load_from_classes`` is given without ``load_from``.
        CheckpointError: If a checkpoint does not fit, or lacks a class of ``load_from_classes``.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='ClassCountCheckHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    # before EMAHook, which loads the averaged weights
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with model and data, or take over what fits, by name."""
        loop, trains = running_loop(runner)
        if loop is None:  # nothing runs yet
            return
        dataset = loop.dataloader.dataset
        classes = classes_of(dataset)
        source = source_of_weights(runner) or runner.work_dir
        if is_resuming(runner) or not trains:
            model = unwrap(runner.model)
            if not trains:
                checkpoint |= add_own_backbone(checkpoint, model, runner.cfg.get('model'))
            check_fit(checkpoint, model, classes, source)
            return
        if classes is not None:
            self._check_head(runner, dataset)  # whose size the parts of classes must have
        # the command line makes a number of a class that is called 1
        renamed = runner.cfg.get('load_from_classes') or {}
        renamed = {str(name): str(there) for name, there in renamed.items()}
        for line in take_over_weights(checkpoint, unwrap(runner.model), classes, renamed, source):
            runner.logger.warning(line)

    def before_train(self, runner: Runner) -> None:
        """Compare the numbers, and let the modules warn.

        Raises:
            ValueError: If ``load_from_classes`` is set and no checkpoint is loaded.
        """
        super().before_train(runner)
        if runner.cfg.get('load_from_classes') and not has_loaded(runner):
            raise ValueError(
                'load_from_classes says which classes of a checkpoint to start from, and there is '
                'none: add --cfg-options load_from=CHECKPOINT'
            )
        check_inner_classes(runner.train_dataloader.dataset)
        classes = classes_of(runner.train_dataloader.dataset)
        check_class_names(classes, runner.val_loop)
        for _, module in parts_of(runner.model):
            for line in module.start_warnings(classes):
                runner.logger.warning(line)
        self._warn_of_mixing(runner)

    def before_test(self, runner: Runner) -> None:
        """Compare the numbers, and say what scores depend on."""
        super().before_test(runner)
        check_inner_classes(runner.test_dataloader.dataset)
        self._warn_of_mixing(runner)

    def _warn_of_mixing(self, runner: Runner) -> None:
        for line in mixing_warnings(unwrap(runner.model)):
            runner.logger.warning(line)

    def _check_head(self, runner: Runner, dataset: Dataset) -> None:
        """Compare with the innermost data set."""
        if classes_of(dataset) is None:
            name = type(innermost(dataset)).__name__
            runner.logger.warning(f'{name} names no classes (metainfo)')
        check_class_count(runner.model, dataset)


def check_inner_classes(dataset: Dataset) -> None:
    """Compare the classes of the data sets inside a wrapper: labels are numbers.

    Raises:
        ValueError: If two have others, or others in the same place.
    """
    first, *others = inner_datasets(dataset)
    for other in others:
        names = (type(other).__name__, f'first of the data sets in {type(dataset).__name__}')
        if difference := class_difference(classes_of(other), classes_of(first), names):
            raise ValueError(f'a {names[0]} has {difference}. Give all the same, in one order')


def check_class_names(classes: Sequence[str] | None, val_loop: BaseLoop | None) -> None:
    """Compare the classes of the training data with those of the validation, name by name.

    Raises:
        ValueError: If they differ, or one is there twice.
    """
    if classes is None:
        return
    twice = repeated(classes)
    if twice:
        raise ValueError(f'the training data have two classes of one name: {first_names(twice)}')
    if val_loop:
        check_inner_classes(val_loop.dataloader.dataset)
    others = val_loop and classes_of(val_loop.dataloader.dataset)
    names = ('validation data', 'training data')
    if difference := class_difference(others, classes, names):
        raise ValueError(f'the validation data have {difference}')


def check_class_count(model: nn.Module, dataset: Dataset) -> None:
    """Compare every ``num_classes`` of a model with the classes of a data set, where it names them.

    Raises:
        ValueError: If one differs.
    """
    classes = classes_of(dataset)
    if classes is None:
        return
    expected = len(classes)
    wrong = {
        f'{name or "model"} ({type(module).__name__})': module.num_classes
        for name, module in model.named_modules()
        if 'backbone' not in name.split('.')
        and getattr(module, 'num_classes', expected) not in (expected, None)
    }
    if wrong:
        raise ValueError(
            f'{type(innermost(dataset)).__name__} has {counted(expected, "class")} and the model '
            f'has others: {", ".join(f"{name} num_classes={n}" for name, n in wrong.items())}'
            f'. Set them to {expected} in the config, or check that it names the right data'
        )
