"""Classification losses of the known labels alone.

Shapes in this module: B images, C classes.
"""

import re

from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.models.checks import POOL_A_MAP
from mlic.models.targets import any_unknown, target_of


def loss_of_known(loss: nn.Module, cls_score: Tensor, target: Tensor, **kwargs) -> Tensor:
    r"""The loss of logits, with :math:`\ell_{bc}` that of one of them and K the known entries:

    .. math::
        L = \frac{1}{B} \sum_{(b, c) \in K} \ell_{bc}

    It is divided by the images, as that of a whole target is, whatever is known of them: an image
    with fewer known labels weighs less, and the batch of several processes, or of several steps
    that are accumulated, is the mean of its parts. Where all is known, it is the loss as it comes.

    Args:
        loss (nn.Module): mmpretrain's or one that is called like them, ``loss(cls_score, target,
            avg_factor=B, reduction_override='none')`` being (B, C). One with a true attribute
            ``takes_unknown`` is called with the two alone, NaN and all.
        cls_score (Tensor): (B, C) logits.
        target (Tensor): (B, C), multi-hot or between 0 and 1; NaN where it is unknown.
        **kwargs: More for the loss.

    Returns:
        Tensor: A scalar, of which unknown entries get no gradient.

    Raises:
        TypeError: If the loss is called in another way.
        ValueError: If the loss is a sum or one for each entry, or if a target has unknown entries
            and the loss is not one of its entries.

    Example:
        >>> import torch
        >>> from mlic.models import MultiLabelSoftMarginLoss, loss_of_known
        >>> target = torch.tensor([[1.0, 0.0, torch.nan]])  # the third label is unknown
        >>> round(loss_of_known(MultiLabelSoftMarginLoss(), torch.zeros(1, 3), target).item(), 4)
        0.4621
    """
    if getattr(loss, 'takes_unknown', False):
        return loss(cls_score, target, **kwargs)
    check_mean(loss)
    if not any_unknown(target):
        return loss_of_batch(loss, cls_score, target, **kwargs)
    unknown = target.isnan()
    per_entry = loss_of_entries(
        loss, cls_score.masked_fill(unknown, 0), target.masked_fill(unknown, 0), **kwargs
    )
    return per_entry.masked_fill(unknown, 0).sum() / len(target)


def check_mean(loss: nn.Module) -> None:
    """Refuse a loss whose ``reduction`` is another than 'mean'.

    Raises:
        ValueError: If it is a sum, or one for each entry.
    """
    if getattr(loss, 'reduction', 'mean') != 'mean':
        raise ValueError(
            f"{type(loss).__name__}(reduction='{loss.reduction}'): a head divides by the number of "
            "images. For the sum over a batch of B use reduction='mean' and loss_weight=B"
        )


def check_reduction(reduction: str) -> None:
    """Refuse what is no reduction of mmpretrain's losses.

    Raises:
        ValueError: If it is not 'mean', 'sum' or 'none'.
    """
    if reduction not in ('mean', 'sum', 'none'):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def loss_of_batch(loss: nn.Module, cls_score: Tensor, target: Tensor, **kwargs) -> Tensor:
    """The loss of a target without unknown entries, called as mmpretrain's are.

    Raises:
        TypeError: If it cannot be.
    """
    try:
        return loss(cls_score, target, avg_factor=len(target), **kwargs)
    except TypeError as error:
        kinds = '|'.join(kind.__name__ for kind in type(loss).__mro__)  # forward may be inherited
        unexpected = rf'(.+\.)?({kinds})\.forward\(\) got an unexpected keyword argument'
        if not re.match(unexpected, str(error)):
            raise
        name = type(loss).__name__
        raise TypeError(
            f'{name}.forward is not called as mmpretrain calls losses: give it the arguments '
            "(cls_score, target, avg_factor=None, reduction_override=None), of which 'none' asks "
            'for the loss of each entry (B, C); or set takes_unknown = True, and it gets the first '
            'two alone'
        ) from error


def loss_of_entries(loss: nn.Module, cls_score: Tensor, target: Tensor, **kwargs) -> Tensor:
    """The loss of each entry, (B, C), of a target without unknown ones."""
    per_entry = loss_of_batch(loss, cls_score, target, reduction_override='none', **kwargs)
    if per_entry.shape != target.shape:
        raise ValueError(
            f'{type(loss).__name__} with reduction_override="none" has the shape '
            f'{tuple(per_entry.shape)} for a target {tuple(target.shape)}, so labels that are '
            'unknown cannot be left out of it: train with data_preprocessor.unknown="negative"'
        )
    return per_entry


def _get_loss(
    self, cls_score: Tensor, data_samples: list[DataSample], **kwargs
) -> dict[str, Tensor]:
    """mmpretrain's, of the known labels."""
    if cls_score.dim() != 2:
        raise ValueError(
            f'{type(self).__name__} takes pooled features, and scores {tuple(cls_score.shape)} '
            f'instead of (B, C): {POOL_A_MAP}'
        )
    target = target_of(data_samples, cls_score.shape[-1], cls_score.dtype, cls_score.device)
    loss = self.loss_module
    if any_unknown(target) or getattr(loss, 'takes_unknown', False):
        return dict(loss=loss_of_known(loss, cls_score, target, **kwargs))
    return dict(loss=loss_of_batch(loss, cls_score, target, **kwargs))


# Of every head that extends it, in mmpretrain and elsewhere: what such a head made of NaN would be
# no loss. Without unknown labels it is what mmpretrain's own method returns.
MultiLabelClsHead._get_loss = _get_loss
