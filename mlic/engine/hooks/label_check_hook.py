"""Labels other than 0 and 1 end a run before the model has seen them."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mlic.datasets.wrappers import classes_of


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Stop at an image whose labels are not valid for C classes, and name it.

    ``gt_score`` must be a 0 or 1 for each class, ``gt_label`` different indices 0 … C - 1, and so
    must ``gt_label_unknown``, which must have no class that ``gt_label`` has. Every
    batch, in training and evaluation, is looked at as the loader gives it, on the CPU: no GPU
    waits. Soft targets are made later, by ``batch_augments`` (Mixup, CutMix) of the data
    preprocessor or by a loss that smooths labels; what they mean is each loss's to say.

    Raises:
        ValueError: With image, class and value.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='LabelCheckHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Look at a batch for training."""
        check_labels(data_batch, runner.train_dataloader)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Look at a batch for validation."""
        check_labels(data_batch, runner.val_dataloader)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Look at a batch for testing."""
        check_labels(data_batch, runner.test_dataloader)


def check_labels(data_batch: object, loader: DataLoader) -> None:
    """Refuse a batch of a loader's that has an image with wrong labels.

    Raises:
        ValueError: See :class:`LabelCheckHook`.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    classes = classes_of(loader.dataset)
    samples = [sample for sample in samples or () if isinstance(sample, DataSample)]
    scored = [sample for sample in samples if 'gt_score' in sample]
    if len({len(sample.gt_score) for sample in scored}) == 1 and _all_hard(
        torch.stack([sample.gt_score for sample in scored]), classes
    ):
        scored = []
    faults = [(sample, _score_fault(sample.gt_score, classes)) for sample in scored]
    faults += [
        (sample, _index_fault(sample.gt_label.tolist(), classes))
        for sample in samples
        if 'gt_label' in sample
    ]
    faults += [
        (sample, _unknown_fault(sample, classes))
        for sample in samples
        if 'gt_label_unknown' in sample
    ]
    for sample, fault in faults:
        if fault:
            raise ValueError(f'{sample.get("img_path", "an image without a path")}: {fault}')


def _all_hard(score: Tensor, classes: Sequence[str] | None) -> bool:
    """Whether every value (B, C) is 0 or 1, and C the number of classes."""
    fits = classes is None or score.shape[1] == len(classes)
    return fits and bool(((score == 0) | (score == 1)).all())


def _score_fault(score: Tensor, classes: Sequence[str] | None) -> str | None:
    """What is wrong with a ``gt_score`` (C,)."""
    if classes is not None and len(score) != len(classes):
        return f'{len(score)} labels for {len(classes)} classes'
    wrong = ((score != 0) & (score != 1)).nonzero()
    if not len(wrong):
        return None
    index = int(wrong[0])
    return f'the label of {_name(index, classes)} is {score[index].item()}, and must be 0 or 1'


def _index_fault(indices: list[int], classes: Sequence[str] | None) -> str | None:
    """What is wrong with a ``gt_label``."""
    end = max(indices, default=0) + 1 if classes is None else len(classes)
    for place, index in enumerate(indices):
        if not 0 <= index < end:
            return f'label {index} is not an index of the {end} classes, which are 0 to {end - 1}'
        if index in indices[:place]:
            return f'the label {_name(index, classes)} is given twice'
    return None


def _unknown_fault(sample: DataSample, classes: Sequence[str] | None) -> str | None:
    """What is wrong with a ``gt_label_unknown``."""
    unknown = [int(index) for index in sample.gt_label_unknown]
    fault = _index_fault(unknown, classes)
    both = set(unknown).intersection(sample.gt_label.tolist() if 'gt_label' in sample else ())
    if fault or not both:
        return fault and f'gt_label_unknown: {fault}'
    return f'the label {_name(min(both), classes)} is given and unknown at once'


def _name(index: int, classes: Sequence[str] | None) -> str:
    """A class by its name, or else its index."""
    return f'class {index}' if classes is None else repr(classes[index])
