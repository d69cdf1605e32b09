"""Asymmetric loss with the focal weight taken as a constant, as SADCL and ASL train with it."""

from mmpretrain.models.losses import AsymmetricLoss
from mmpretrain.models.losses.utils import weight_reduce_loss
from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.dtypes import at_least_float32
from mlic.models.losses.known_labels import check_reduction


@MODELS.register_module()
class StopGradAsymmetricLoss(AsymmetricLoss):
    r"""Asymmetric Loss (Ridnik et al., ICCV 2021), summed over classes, averaged over images.

    With :math:`p_t` the probability of the right answer (shifted by ``clip`` for negatives):
    :math:`L = -(1 - p_t)^\gamma \log \max(p_t, \epsilon)`. mmpretrain's class differentiates the
    focal weight, too; the published commands of ASL and SADCL do not, and their gradients are
    smaller where gamma > 0: by 1 + gamma where :math:`p_t` is near 1, by less where it is not.
    With both gammas 0 this is binary cross-entropy.

    A soft target y (of Mixup, CutMix, smoothed labels) is a label that is there with probability
    y: the loss is :math:`y\,L_{y=1} + (1 - y)\,L_{y=0}`, as that of Mixup is defined and as binary
    cross-entropy has it. mmpretrain's class mixes within the focal weight instead.

    mmpretrain's ``forward`` is not used: it neither stops that gradient nor raises half precision.
    The defaults differ from its: no focus, no clip, epsilon 1e-5.

    Args:
        gamma_pos (float): Focus of the positives. Defaults to 0.
        gamma_neg (float): Focus of the negatives. Defaults to 0; the first stage of SADCL has 4.
        clip (float): Probability margin of the negatives. Defaults to 0.
        reduction (str): 'mean' (the sum over classes, averaged over images), 'sum' or 'none'.
            Defaults to 'mean'.
        mean_over_classes (bool): Divide by the number of classes, in every reduction, so that a
            weight means the same for any number of them. Defaults to False.
        loss_weight (float): Defaults to 1.0. The published code has 1000, with the mean over
            classes.
        eps (float): Floor of the logarithm's argument. Defaults to 1e-5, the published value.

    Raises:
        ValueError: If the reduction is another, a focus is negative or the margin not below 1.

    Example:
        >>> import torch
        >>> from mlic.models import StopGradAsymmetricLoss
        >>> loss = StopGradAsymmetricLoss(gamma_neg=4.0, clip=0.05)
        >>> round(loss(torch.zeros(2, 3), torch.eye(2, 3)).item(), 4)
        0.7422
    """

    def __init__(
        self,
        *,
        gamma_pos: float = 0.0,
        gamma_neg: float = 0.0,
        clip: float = 0.0,
        reduction: str = 'mean',
        mean_over_classes: bool = False,
        loss_weight: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        check_reduction(reduction)
        if not (gamma_pos >= 0 and gamma_neg >= 0 and 0 <= clip < 1):
            raise ValueError(
                'gamma_pos and gamma_neg must not be negative, and clip must be from 0 to below 1, '
                f'got {gamma_pos}, {gamma_neg} and {clip}'
            )
        super().__init__(gamma_pos, gamma_neg, clip, reduction, loss_weight, eps=eps)
        self.mean_over_classes = mean_over_classes

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: int | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Loss of logits against a target.

        Args:
            pred (Tensor): (B, C) logits; half precision is raised to float32.
            target (Tensor): (B, C), multi-hot or between 0 and 1.
            weight (Tensor, optional): (B,) weight of each image. Defaults to None.
            avg_factor (int, optional): Divisor of the sum instead of B. Defaults to None.
            reduction_override (str, optional): Instead of ``reduction``. Defaults to None.

        Returns:
            Tensor: A scalar, or (B, C) with reduction 'none'.

        Raises:
            ValueError: If the shapes differ.
        """
        if pred.shape != target.shape:
            raise ValueError(f'pred {tuple(pred.shape)} and target {tuple(target.shape)} differ')
        pred = at_least_float32(pred)
        target = target.to(pred.dtype)
        # sigmoid(-x), not 1 - sigmoid(x): exact for confident positives
        absent = pred.neg().sigmoid()
        if self.clip:
            absent = (absent + self.clip).clamp(max=1)
        loss = target * self._focal_log(pred.sigmoid(), self.gamma_pos)
        loss = loss + (1 - target) * self._focal_log(absent, self.gamma_neg)  # (B, C)
        if self.mean_over_classes:
            loss = loss / pred.shape[1]
        reduction = reduction_override or self.reduction
        if reduction == 'mean' and avg_factor is None:
            avg_factor = len(pred)
        weight = None if weight is None else weight.float().reshape(-1, 1)
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)

    def _focal_log(self, right: Tensor, gamma: float) -> Tensor:
        """L of the probability of the right answer, of any shape."""
        loss = -right.clamp(min=self.eps).log()
        if not gamma:
            return loss
        return loss * (1 - right).clamp(min=0).detach().pow(gamma)
