"""Supervised contrast between the active vectors of several views.

Shapes in this module: B images, C classes, V views, P projection dims, K positive (image, class)
pairs of the batch, M = V * K active (view, image, class) vectors.
"""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.layers.gather import gather_active


def supcon_loss(
    z: Tensor, label: Tensor, temperature: float = 0.2, anchors: Tensor | None = None
) -> Tensor:
    r"""Supervised contrastive loss per class (Khosla et al., NeurIPS 2020, of label embeddings).

    With :math:`s(i,a)` the cosine of two active vectors over the temperature, :math:`A(i)` all
    other active vectors (any class, image and view) and :math:`P(i)` those of the class of i:

    .. math::
        L = -\frac{1}{M} \sum_i \frac{1}{|P(i)|} \sum_{p \in P(i)}
            \Big[ s(i,p) - \log \sum_{a \in A(i)} e^{s(i,a)} \Big]

    An anchor without a partner (possible with one view only) adds 0 and is counted in M. The cost
    grows with M squared.

    Args:
        z (Tensor): (V, K, P), the active vectors of each view, not normalised.
        label (Tensor): (K,), the class of each.
        temperature (float): Divides the cosine. Defaults to 0.2.
        anchors (Tensor, optional): (V, K), bool: the vectors i of the outer sum, still divided by
            M. Defaults to None: all.

    Returns:
        Tensor: A scalar, at least float32. Zero with a graph if nothing is active.

    Raises:
        ValueError: If the temperature is not positive.

    Example:
        >>> import torch
        >>> from mlic.models import supcon_loss
        >>> z = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])  # one view, three vectors
        >>> round(supcon_loss(z, torch.tensor([0, 0, 1])).item(), 4)
        0.0045
    """
    check_temperature(temperature)
    num_views, num_pairs, _ = z.shape
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(at_least_float32(z), dim=-1, eps=1e-12).flatten(0, 1)  # (M, P)
        classes = label.repeat(num_views)  # (M,)
        positives = classes[:, None] == classes  # (M, M)
        positives.fill_diagonal_(False)
        is_anchor = positives.any(dim=1)  # (M,)
        if anchors is not None:
            is_anchor = is_anchor & anchors.flatten()
        similarity = z @ z.T / temperature  # (M, M)
        # rows that are not anchors keep themselves, so that no row is empty, and count 0
        left_out = torch.diag(is_anchor)
        log_denominator = similarity.masked_fill(left_out, -torch.inf).logsumexp(dim=1)
        attraction = (similarity * positives).sum(dim=1) / positives.sum(dim=1).clamp(min=1)
        per_row = is_anchor * (log_denominator - attraction)  # (M,)
        return per_row.sum() / max(num_views * num_pairs, 1)


@MODELS.register_module()
class SupConLoss(nn.Module):
    """Supervised contrast per class; the mathematics is :func:`supcon_loss`.

    Args:
        temperature (float): Divides the cosine. Defaults to 0.2.
        loss_weight (float): Defaults to 1.0.
        gather (bool): True: the loss of the vectors of all processes, the same however the batch
            is split. False: of this process's alone. Defaults to True.

    Raises:
        ValueError: If the temperature is not positive.

    Example:
        >>> import torch
        >>> from mlic.models import SupConLoss
        >>> z = torch.eye(4)[None]  # one view, four vectors
        >>> target = torch.ones(2, 2)  # two images, both with both classes
        >>> image, label = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> round(SupConLoss()(z, target, image, label).item(), 4)
        1.0986
    """

    def __init__(
        self, *, temperature: float = 0.2, loss_weight: float = 1.0, gather: bool = True
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.loss_weight = loss_weight
        self.gather = gather

    def forward(self, z: Tensor, target: Tensor, image: Tensor, label: Tensor) -> Tensor:
        """Weighted loss of the active vectors.

        Args:
            z (Tensor): (V, K, P), not normalised.
            target (Tensor): (B, C); a class with at least 0.5 is present (soft targets).
            image (Tensor): (K,), the image of each vector.
            label (Tensor): (K,), its class.
        """
        z = at_least_float32(z)
        if self.gather:
            z, target, image, label = gather_active(z, target, image, label)
        anchors = self.anchors_of(target, image, label, len(z))
        return self.loss_weight * supcon_loss(z, label, self.temperature, anchors)

    def anchors_of(
        self, target: Tensor, image: Tensor, label: Tensor, num_views: int
    ) -> Tensor | None:
        """Which vectors are anchors, (V, K), for a subclass to override; None is all of them."""
        return None


def check_temperature(temperature: float) -> float:
    """The temperature itself.

    Raises:
        ValueError: If it is not positive.
    """
    if not temperature > 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    return temperature
