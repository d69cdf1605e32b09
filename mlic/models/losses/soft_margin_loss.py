"""Binary cross-entropy of each class, as most methods are trained with.

Shapes in this module: B images, C classes.
"""

import torch.nn.functional as F
from mmpretrain.models.losses.utils import weight_reduce_loss
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.losses.known_labels import check_reduction


@MODELS.register_module()
class MultiLabelSoftMarginLoss(nn.Module):
    """torch's loss of that name: binary cross-entropy of logits, averaged over the classes.

    mmpretrain's ``CrossEntropyLoss(use_sigmoid=True)`` sums over the classes, and rounds to float32
    whatever it is given.

    Args:
        mean_over_classes (bool): Divide by the number of classes, in every reduction.
            Defaults to True.
        reduction (str): 'mean' (averaged over images), 'sum' or 'none'. Defaults to 'mean'.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If the reduction is another.

    Example:
        >>> import torch
        >>> from mlic.models import MultiLabelSoftMarginLoss
        >>> loss = MultiLabelSoftMarginLoss()
        >>> round(loss(torch.zeros(2, 3), torch.ones(2, 3)).item(), 4)
        0.6931
    """

    def __init__(
        self, mean_over_classes: bool = True, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.mean_over_classes = mean_over_classes
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        avg_factor: int | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Loss of logits (B, C) against a target (B, C), multi-hot or between 0 and 1.

        Args:
            pred (Tensor): Half precision is raised to float32.
            target (Tensor): Of the same shape.
            avg_factor (int, optional): Divisor of the sum instead of B. Defaults to None.
            reduction_override (str, optional): Instead of ``reduction``. Defaults to None.

        Returns:
            Tensor: A scalar, or (B, C) with reduction 'none'.
        """
        pred = at_least_float32(pred)
        loss = self.entries(pred, target.to(pred.dtype))
        if self.mean_over_classes:
            loss = loss / pred.shape[1]
        reduction = reduction_override or self.reduction
        if reduction == 'mean' and avg_factor is None:
            avg_factor = len(pred)
        return self.loss_weight * weight_reduce_loss(loss, None, reduction, avg_factor)

    def entries(self, pred: Tensor, target: Tensor) -> Tensor:
        """(B, C) logits and target to the loss of each."""
        return F.binary_cross_entropy_with_logits(pred, target, reduction='none')
