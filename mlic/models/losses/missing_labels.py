"""What else may be made of unknown labels than to leave them out, each around any loss of logits.

Shapes in this module: B images, C classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.layers.gather import gather_rows
from mlic.models.losses.known_labels import (
    check_mean,
    loss_of_batch,
    loss_of_entries,
    loss_of_known,
)
from mlic.models.targets import any_unknown


class MissingLabelLoss(nn.Module):
    """Base of a loss around another one.

    Args:
        loss (dict): The loss of logits (B, C) and a target, with its ``loss_weight``; one whose
            entries can be told apart (:func:`mlic.models.losses.known_labels.loss_of_known`).

    Raises:
        ValueError: If that is such a loss itself, or no mean over images.
    """

    takes_unknown = True

    def __init__(self, loss: dict) -> None:
        super().__init__()
        self.loss = MODELS.build(loss)
        if getattr(self.loss, 'takes_unknown', False):
            raise ValueError(
                f'{type(self).__name__}(loss={type(self.loss).__name__}): both say what becomes of '
                'unknown labels; use one of them'
            )
        check_mean(self.loss)


@MODELS.register_module()
class WeakNegativeLoss(MissingLabelLoss):
    r"""WAN, weak assume negative (Cole et al., *Multi-Label Learning from Single Positive Labels*,
    CVPR 2021).

    An unknown label is taken as absent, with a small weight. With :math:`\ell(x, y)` the inner loss
    of a logit and K the known entries:

    .. math::
        L = \frac{1}{B} \Big[ \sum_{(b, c) \in K} \ell(x_{bc}, y_{bc})
            + \gamma \sum_{(b, c) \notin K} \ell(x_{bc}, 0) \Big]

    The paper has one known label in each image, a positive one.

    Args:
        loss (dict): See ``MissingLabelLoss``.
        weight (float, optional): :math:`\gamma`. Defaults to None: 1 / (C - 1), the paper's, which
            makes all unknown labels of its images weigh as much as the known one.

    Raises:
        ValueError: If the weight is negative; and see ``MissingLabelLoss``.

    Example:
        >>> import torch
        >>> from mlic.models import WeakNegativeLoss
        >>> loss = WeakNegativeLoss(dict(type='MultiLabelSoftMarginLoss'))
        >>> target = torch.tensor([[1.0, 0.0, torch.nan]])  # 1 / (C - 1) is 0.5
        >>> round(loss(torch.zeros(1, 3), target).item(), 4)
        0.5776
    """

    def __init__(self, loss: dict, weight: float | None = None) -> None:
        super().__init__(loss)
        if weight is not None and not weight >= 0:
            raise ValueError(f'weight must not be negative, got {weight}')
        self.weight = weight

    def forward(self, cls_score: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C) and a target (B, C), NaN where it is unknown."""
        if not any_unknown(target):
            return loss_of_batch(self.loss, cls_score, target)
        unknown = target.isnan()
        weight = 1 / max(target.shape[1] - 1, 1) if self.weight is None else self.weight
        per_entry = loss_of_entries(self.loss, cls_score, target.masked_fill(unknown, 0))
        return torch.where(unknown, weight * per_entry, per_entry).sum() / len(target)


@MODELS.register_module()
class ExpectedPositiveLoss(MissingLabelLoss):
    r"""EPR, expected positive regularisation (Cole et al., CVPR 2021).

    Unknown labels are left out, and the scores of the batch are to add up to the k labels that an
    image has on average. With :math:`\ell` the inner loss, K the known entries and
    :math:`p_{bc}` the sigmoid of a logit:

    .. math::
        L = \frac{1}{B} \sum_{(b, c) \in K} \ell(x_{bc}, y_{bc}) + \lambda \Big(
            \frac{1}{C} \Big[ \frac{1}{B} \sum_{b, c} p_{bc} - k \Big] \Big)^2

    The mean is over the images of all processes; it is not over batches that are accumulated,
    each of which is to come to k. In the paper the known labels are positive ones.

    Args:
        loss (dict): See ``MissingLabelLoss``.
        expected (float): k, the mean number of labels of an image.
        weight (float): :math:`\lambda`. Defaults to 1.0.

    Raises:
        ValueError: If k or the weight is negative; and see ``MissingLabelLoss``.

    Example:
        >>> import torch
        >>> from mlic.models import ExpectedPositiveLoss
        >>> loss = ExpectedPositiveLoss(dict(type='MultiLabelSoftMarginLoss'), expected=1.5)
        >>> target = torch.tensor([[1.0, 0.0, torch.nan]])  # the third label is unknown
        >>> round(loss(torch.zeros(1, 3), target).item(), 4)
        0.4621
    """

    def __init__(self, loss: dict, expected: float, weight: float = 1.0) -> None:
        super().__init__(loss)
        if not (expected >= 0 and weight >= 0):
            raise ValueError(
                f'expected and weight must not be negative, got {expected} and {weight}'
            )
        self.expected = expected
        self.weight = weight

    def forward(self, cls_score: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C) and a target (B, C), NaN where it is unknown."""
        found = gather_rows(at_least_float32(cls_score).sigmoid().sum(dim=1))  # (N,)
        distance = (found.mean() - self.expected) / cls_score.shape[1]
        return loss_of_known(self.loss, cls_score, target) + self.weight * distance.square()


@MODELS.register_module()
class PriorSmoothLoss(MissingLabelLoss):
    r"""Label smoothing towards the prior of each class (Szegedy et al., *Rethinking the Inception
    Architecture for Computer Vision*, CVPR 2016), of labels that are assumed absent where unknown.

    With :math:`\pi_c` the share of the images that have class c, and y = 0 where it is unknown, the
    inner loss gets the target

    .. math::
        y'_{bc} = (1 - \epsilon)\, y_{bc} + \epsilon\, \pi_c

    The paper smooths the one label of an image, towards a distribution over the classes.

    Args:
        loss (dict): The loss of logits (B, C) and a target between 0 and 1.
        prior (float | Sequence[float]): :math:`\pi`, one for all classes or one for each.
        smoothing (float): :math:`\epsilon`, between 0 and 1. Defaults to 0.1.

    Raises:
        ValueError: If a prior or the smoothing is not between 0 and 1; and see
            ``MissingLabelLoss``.

    Example:
        >>> import torch
        >>> from mlic.models import PriorSmoothLoss
        >>> loss = PriorSmoothLoss(dict(type='MultiLabelSoftMarginLoss'), prior=0.2)
        >>> target = torch.tensor([[1.0, 0.0, torch.nan]])  # the third label is unknown
        >>> round(loss(torch.zeros(1, 3), target).item(), 4)
        0.6931
    """

    def __init__(self, loss: dict, prior: float | Sequence[float], smoothing: float = 0.1) -> None:
        super().__init__(loss)
        priors = prior if np.ndim(prior) else [prior]
        if not all(0 <= value <= 1 for value in (*priors, smoothing)):
            raise ValueError(
                f'prior and smoothing must lie between 0 and 1, got {prior} and {smoothing}'
            )
        self.smoothing = smoothing
        self.register_buffer('prior', torch.tensor(prior), persistent=False)

    def forward(self, cls_score: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C) and a target (B, C), NaN where it is unknown.

        Raises:
            ValueError: If there is not one prior for each class.
        """
        if self.prior.dim() and len(self.prior) != target.shape[1]:
            raise ValueError(
                f'PriorSmoothLoss has {len(self.prior)} priors for {target.shape[1]} classes'
            )
        assumed = at_least_float32(target.nan_to_num(nan=0.0))
        smoothed = torch.lerp(assumed, self.prior.to(assumed).expand_as(assumed), self.smoothing)
        return loss_of_batch(self.loss, cls_score, smoothed)
