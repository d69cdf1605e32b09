"""Batches on their way to the device. B images, C classes."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample, batch_label_to_onehot, cat_batch_labels
from torch import Tensor

from mlic.models.targets import fill_unknown, to_device, with_host_copy
from mlic.models.training_parts import TrainingParts

UNKNOWN = ('ignore', 'negative')


@MODELS.register_module()
class MultiLabelDataPreprocessor(TrainingParts, ClsDataPreprocessor):
    """mmpretrain's ``ClsDataPreprocessor``, without the host waiting for the device.

    Images are copied without blocking, which is of use with the loader's ``pin_memory=True``.
    Labels become multi-hot on the host, are blended there (``batch_augments``), and go over in one
    copy; in training each row of ``gt_score`` remembers the host's
    (:func:`mlic.models.targets.host_copy`). ``gt_label`` stays on the host. What comes out is equal
    to what ``ClsDataPreprocessor`` gives, and so are the arguments but for the first.

    The classes of a data sample's meta key ``gt_label_unknown`` (indices), which nobody annotated
    in that image, are NaN in the ``gt_score`` of a training batch
    (:mod:`mlic.models.targets`) and 0 in that of another.

    Args:
        unknown (str): What training makes of them. 'ignore': they are neither positive nor negative
            to any loss. 'negative': they are absent, the baseline of the literature on missing
            labels (assume negative). Defaults to 'ignore'.
        **kwargs: Of ``ClsDataPreprocessor``.

    Raises:
        ValueError: If ``unknown`` is neither, or ``mean`` or ``std`` has no or two values.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import MultiLabelDataPreprocessor
        >>> preprocess = MultiLabelDataPreprocessor(num_classes=3, mean=[127] * 3, std=[128] * 3)
        >>> images = [torch.zeros(3, 32, 32, dtype=torch.uint8)]
        >>> data = preprocess(dict(inputs=images, data_samples=[DataSample().set_gt_label([0, 2])]))
        >>> data['inputs'].shape, data['data_samples'][0].gt_label
        (torch.Size([1, 3, 32, 32]), tensor([0, 2]))
    """

    constant_buffers = ('mean', 'std')

    def __init__(self, *, unknown: str = 'ignore', **kwargs) -> None:
        super().__init__(**kwargs)
        for name in ('mean', 'std'):
            values = kwargs.get(name)
            if values is not None and len(values) in (0, 2):  # some images have 4 or more
                raise ValueError(f'{name} must have a value for each of 3 channels, got {values}')
        if unknown not in UNKNOWN:
            raise ValueError(f'unknown must be one of {UNKNOWN}, got {unknown!r}')
        self.unknown = unknown

    def cast_data(self, data):
        """Copy to the device without waiting."""
        if isinstance(data, Tensor):
            return data.to(self.device, non_blocking=True)
        return super().cast_data(data)

    def forward(self, data: dict, training: bool = False) -> dict:
        """The images on the device, normalised, and data samples with ``gt_score`` (C,)."""
        samples = data.get('data_samples')
        target = self._target(samples)
        if target is None:
            return super().forward(data, training)
        ignored = training and self.unknown == 'ignore'
        target = fill_unknown(target, samples, torch.nan if ignored else 0)
        inputs = super().forward(dict(inputs=data['inputs']), training)['inputs']
        if training and self.batch_augments is not None:
            inputs, target = self.batch_augments(inputs, target)
        for sample, row, host in zip(samples, to_device(target, self.device), target):
            sample.set_gt_score(with_host_copy(row, host) if training else row)
        return dict(inputs=inputs, data_samples=samples)

    def _target(self, samples: list | None) -> Tensor | None:
        """The target (B, C) of the samples, on the host; None where there is none to make."""
        if not samples or not isinstance(samples[0], DataSample):
            return None
        if 'gt_score' in samples[0]:
            return torch.stack([sample.gt_score for sample in samples])
        if not self.to_onehot or 'gt_label' not in samples[0]:
            return None
        num_classes = self.num_classes or samples[0].get('num_classes')
        if num_classes is None:
            return None  # mmpretrain says what is missing
        labels, splits = cat_batch_labels([sample.gt_label for sample in samples])
        return batch_label_to_onehot(labels, splits, num_classes)
