"""Does the model have as many classes as the data, whatever wraps them?"""

from __future__ import annotations

from mmengine.runner import Runner
from mmpretrain.engine.hooks import ClassNumCheckHook
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset


@HOOKS.register_module()
class ClassCountCheckHook(ClassNumCheckHook):
    """mmpretrain's ``ClassNumCheckHook``, which looks into dataset wrappers, too.

    Before the first epoch, every module with a ``num_classes`` must agree with the classes of
    the data set; mmpretrain's fails on ``RepeatDataset`` and ``ConcatDataset``.
    """

    def _check_head(self, runner: Runner, dataset: Dataset) -> None:
        """Compare with the innermost data set."""
        while not hasattr(dataset, 'CLASSES'):
            dataset = dataset.datasets[0] if hasattr(dataset, 'datasets') else dataset.dataset
        super()._check_head(runner, dataset)
