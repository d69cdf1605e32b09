"""Do model, data and checkpoint have the same classes?"""

from mmengine.runner import Runner
from mmpretrain.engine.hooks import ClassNumCheckHook
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

from mlic.engine.checkpoints.matching import check_fit, class_difference, class_names_of
from mlic.engine.mmengine_internals import (
    is_resuming,
    running_loop,
    source_of_weights,
    unwrap,
)
from mlic.models.training_parts import parts_of


@HOOKS.register_module()
class ClassCountCheckHook(ClassNumCheckHook):
    """mmpretrain's ``ClassNumCheckHook``, which looks into wrappers and checkpoints, too.

    Before the first iteration, every module with a ``num_classes`` must agree with the classes of
    the data set, and the log has the ``start_warnings`` of the modules. mmpretrain's fails on
    ``RepeatDataset`` and ``ConcatDataset``, and compares what a timm backbone was trained on.

    A checkpoint that is resumed or tested must have the weights of the model, and the classes of
    the data in the same order; of one that training starts from (``load_from``), the log says
    what differs.

    Raises:
        ValueError: If the numbers differ.
        CheckpointError: If a checkpoint does not fit.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint's classes with the data's."""
        loop, trains = running_loop(runner)
        if loop is None:  # nothing runs yet
            return
        classes = getattr(_innermost(loop.dataloader.dataset), 'CLASSES', None)
        source = source_of_weights(runner) or runner.work_dir
        if is_resuming(runner) or not trains:
            check_fit(checkpoint, unwrap(runner.model), classes, source)
            return
        difference = class_difference(class_names_of(checkpoint), classes)
        if difference:
            runner.logger.warning(
                f'load_from={source} has {difference}. Its weights are taken by '
                'position, whatever the names; those of another size are left as they were drawn.'
            )

    def before_train(self, runner: Runner) -> None:
        """Compare the numbers, and let the modules warn."""
        super().before_train(runner)
        classes = _innermost(runner.train_dataloader.dataset).CLASSES
        for _, module in parts_of(runner.model):
            for line in module.start_warnings(classes):
                runner.logger.warning(line)

    def _check_head(self, runner: Runner, dataset: Dataset) -> None:
        """Compare with the innermost data set."""
        dataset = _innermost(dataset)
        if dataset.CLASSES is None:
            runner.logger.warning(f'{type(dataset).__name__} names no classes (metainfo)')
            return
        expected = len(dataset.CLASSES)
        wrong = {
            f'{name or "model"} ({type(module).__name__})': module.num_classes
            for name, module in runner.model.named_modules()
            if 'backbone' not in name.split('.')
            and getattr(module, 'num_classes', expected) not in (expected, None)
        }
        if wrong:
            raise ValueError(
                f'{type(dataset).__name__} has {expected} classes and the model has others: '
                + ', '.join(f'{name} num_classes={number}' for name, number in wrong.items())
                + f'. Set them to {expected} in the config, or check that it names the right data'
            )


def _innermost(dataset: Dataset) -> Dataset:
    """The data set inside wrappers; the first of several."""
    while hasattr(dataset, 'datasets') or hasattr(dataset, 'dataset'):
        dataset = dataset.datasets[0] if hasattr(dataset, 'datasets') else dataset.dataset
    return dataset
