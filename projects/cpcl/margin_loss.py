"""A margin between the two distances of which CPCL's logits are the difference.

Shapes in this module: B images, C classes.
"""

from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.models.losses.soft_margin_loss import MultiLabelSoftMarginLoss


@MODELS.register_module()
class MarginLoss(MultiLabelSoftMarginLoss):
    r"""CPCL's triplet loss (Zhou et al., TCSVT 2022), of logits s, targets y and a margin m.

    .. math::
        \frac{1}{BC} \sum_{b,c} (1 - y) \max(s + m, 0) + y \max(m - s, 0)

    Args:
        margin (float): In units of a logit, m. Defaults to 2.0, as in the authors' commands for
            COCO and VOC; NUS-WIDE has 1.0 (and the code's own default is 10).
        **kwargs: Of ``MultiLabelSoftMarginLoss``.

    Example:
        >>> import torch
        >>> from projects.cpcl import MarginLoss
        >>> MarginLoss(margin=2.0)(torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 0.0]])).item()
        0.5
    """

    def __init__(self, margin: float = 2.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.margin = margin

    def entries(self, pred: Tensor, target: Tensor) -> Tensor:
        """(B, C) logits and target to the loss of each."""
        absent, present = (pred + self.margin).relu(), (self.margin - pred).relu()
        return (1 - target) * absent + target * present
