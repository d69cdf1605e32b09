"""Do model and data have the same classes, and does every class have a prototype?"""

from __future__ import annotations

from mmengine.runner import Runner
from mmpretrain.engine.hooks import ClassNumCheckHook
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset


@HOOKS.register_module()
class ClassCountCheckHook(ClassNumCheckHook):
    """mmpretrain's ``ClassNumCheckHook``, which looks into dataset wrappers and prototypes, too.

    Before the first iteration, every module with a ``num_classes`` must agree with the classes of
    the data set, and classes whose prototype is zero are named in the log. mmpretrain's fails on
    ``RepeatDataset`` and ``ConcatDataset``, and compares what a timm backbone was trained on.

    Raises:
        ValueError: If the numbers differ.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the numbers, and name the classes without a prototype."""
        super().before_train(runner)
        classes = _innermost(runner.train_dataloader.dataset).CLASSES
        for module in runner.model.modules():
            prototypes = getattr(module, 'prototypes', None)
            if prototypes is None or not getattr(module, 'contrastive', True):
                continue
            zero = (~prototypes.detach().any(dim=1)).nonzero().flatten().tolist()
            names = [str(index if classes is None else classes[index]) for index in zero]
            if names:
                runner.logger.warning(
                    f'{len(names)} of {len(prototypes)} classes start from a prototype of zeros '
                    f'and share one projected prototype: {", ".join(names)}'
                )

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
    while not hasattr(dataset, 'CLASSES'):
        dataset = dataset.datasets[0] if hasattr(dataset, 'datasets') else dataset.dataset
    return dataset
