"""The two contrastive losses of SADCL: between samples, and between samples and prototypes.

Shapes in this module: B images, C classes, V views, P projection dims, K positive (image, class)
pairs of the batch, M = V * K active (view, image, class) vectors.
"""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.layers.gather import gather_rows
from mlic.models.losses.supcon_loss import SupConLoss, check_temperature
from mlic.models.targets import is_present

ANCHORS = ('all', 'official')


def pscl_loss(
    z: Tensor,
    prototypes: Tensor,
    target: Tensor,
    temperature: float = 0.07,
    present_only: bool = False,
    gather: bool = False,
) -> Tensor:
    r"""Prototype-to-sample contrastive loss (SADCL eq. for L_PSCL).

    With :math:`s_{bc}` the cosine of an embedding and its class's prototype over the temperature:

    .. math::
        L = -\frac{1}{K} \sum_c \Big[ \log \sum_{b: y_{bc}=1} e^{s_{bc}}
            - \log \sum_b e^{s_{bc}} \Big]

    The published code takes a class without a positive in the batch to have the numerator
    :math:`\max_b s_{bc}` without gradient: such a class pushes every image from its prototype.

    Args:
        z (Tensor): (B, C, P), projected embeddings, not normalised.
        prototypes (Tensor): (C, P) or (1, C, P), projected, not normalised.
        target (Tensor): (B, C); y is 1 where it is at least 0.5 (soft targets), else 0. Entries
            that are NaN, unknown, are in no sum.
        temperature (float): Divides the cosine. Defaults to 0.07, the published value.
        present_only (bool): Leave classes without a positive in the batch out of the sum.
            Defaults to False, as published.
        gather (bool): Over the images of all processes; only the (B, C) cosines travel. Defaults
            to False: of this process's alone, as published.

    Returns:
        Tensor: A scalar, at least float32. Zero with a graph if no label is positive (the
        published code stops with an AttributeError).

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> import torch
        >>> from projects.sadcl.models import pscl_loss
        >>> z, prototypes = torch.eye(3).expand(2, 3, 3), torch.eye(3)
        >>> round(pscl_loss(z, prototypes, target=torch.eye(2, 3)).item(), 4)
        1.0397
    """
    check_temperature(temperature)
    similarity = _prototype_cosine(z, prototypes, target) / temperature  # (B, C)
    if gather:
        similarity, target = gather_rows(similarity), gather_rows(at_least_float32(target))
    return _prototype_contrast(similarity, target, present_only)


def _prototype_cosine(z: Tensor, prototypes: Tensor, target: Tensor) -> Tensor:
    """Cosine (B, C) of each embedding and its class's prototype, at least float32."""
    if prototypes.dim() == 3 and len(prototypes) == 1:
        prototypes = prototypes[0]
    if z.dim() != 3 or z.shape[1:] != prototypes.shape or target.shape != z.shape[:2]:
        raise ValueError(
            'z must be (B, C, P), prototypes (C, P) and target (B, C), got '
            f'{tuple(z.shape)}, {tuple(prototypes.shape)} and {tuple(target.shape)}'
        )
    with torch.autocast(z.device.type, enabled=False):
        # eps as in torch.nn.functional.cosine_similarity
        z = F.normalize(at_least_float32(z), dim=-1, eps=1e-8)
        prototypes = F.normalize(at_least_float32(prototypes), dim=-1, eps=1e-8)
        return torch.einsum('bcp,cp->bc', z, prototypes.to(z))


def _prototype_contrast(similarity: Tensor, target: Tensor, present_only: bool) -> Tensor:
    """:func:`pscl_loss` of the cosines over the temperature, (B, C)."""
    # no exponential of it is above 0, and a class of which nothing is known has a sum, too
    similarity = similarity.masked_fill(target.isnan(), -1e30)
    positive = is_present(target)
    present = positive.any(dim=0)  # (C,)
    # Absent classes keep all rows here, so that no row is empty; torch.where drops them.
    log_numerator = torch.where(
        present,
        similarity.masked_fill(~positive & present, -torch.inf).logsumexp(dim=0),
        similarity.detach().amax(dim=0),
    )
    per_class = similarity.logsumexp(dim=0) - log_numerator  # (C,)
    if present_only:
        per_class = per_class * present
    num_pairs = positive.sum()
    return per_class.sum() * (num_pairs > 0) / num_pairs.clamp(min=1)


@MODELS.register_module()
class SSCLLoss(SupConLoss):
    """Sample-to-sample contrastive loss (SADCL eq. for L_SSCL): ``SupConLoss``, choosing anchors.

    Args:
        temperature (float): See ``SupConLoss``. Defaults to 0.2.
        anchors (str): 'all' is the paper's formula, that of ``supcon_loss``. 'official' sums over
            the anchors that the published code keeps: row n = v * B + b stays if image n // V has
            the class, too (a mistake in the order of rows there), still divided by all. The
            gradient is then the published one; the published *value* carries detached offsets that
            this one has not. Defaults to 'all'.
        loss_weight, gather: See ``SupConLoss``. The released code has weight 100 with 'official'
            anchors, not gathered.

    Raises:
        ValueError: If the temperature is not positive, or ``anchors`` neither.

    Example:
        >>> import torch
        >>> from projects.sadcl.models import SSCLLoss
        >>> z = torch.rand(2, 4, 8)  # now and in the memory bank, four vectors
        >>> target = torch.ones(2, 2)  # two images, both with both classes
        >>> image, label = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> SSCLLoss()(z, target, image, label).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        anchors: str = 'all',
        loss_weight: float = 1.0,
        gather: bool = True,
    ) -> None:
        super().__init__(temperature=temperature, loss_weight=loss_weight, gather=gather)
        if anchors not in ANCHORS:
            raise ValueError(f'anchors must be one of {ANCHORS}, got {anchors!r}')
        self.anchors = anchors

    def anchors_of(
        self, target: Tensor, image: Tensor, label: Tensor, num_views: int
    ) -> Tensor | None:
        """The anchors of the published code (V, K), or None: all."""
        if self.anchors == 'all':
            return None
        rows = torch.arange(num_views, device=image.device)[:, None] * len(target) + image
        return is_present(target[rows // num_views, label])


@MODELS.register_module()
class PSCLLoss(nn.Module):
    """Prototype-to-sample contrastive loss; the mathematics is :func:`pscl_loss`.

    Args:
        temperature (float): Divides the cosine. Defaults to 0.07.
        loss_weight (float): Defaults to 1.0. The published run has 50.
        gather (bool): True: the loss of the images of all processes, the same however the batch
            is split; only the (B, C) cosines travel. False: of this process's alone, as published.
            Defaults to True.
        present_only (bool): See :func:`pscl_loss`. Defaults to False.

    Raises:
        ValueError: If the temperature is not positive.

    Example:
        >>> import torch
        >>> from projects.sadcl.models import PSCLLoss
        >>> z, prototypes = torch.eye(3).expand(2, 3, 3), torch.eye(3)
        >>> round(PSCLLoss()(z, prototypes, torch.eye(2, 3)).item(), 4)
        1.0397
    """

    def __init__(
        self,
        *,
        temperature: float = 0.07,
        loss_weight: float = 1.0,
        gather: bool = True,
        present_only: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.loss_weight = loss_weight
        self.gather = gather
        self.present_only = present_only

    def forward(self, z: Tensor, prototypes: Tensor, target: Tensor) -> Tensor:
        """Weighted loss of z (B, C, P) against prototypes (C, P); see :func:`pscl_loss`."""
        options = self.temperature, self.present_only, self.gather
        return self.loss_weight * pscl_loss(z, prototypes, target, *options)
