"""Inactive label embeddings in the denominators of the contrastive loss.

Shapes in this module: V views, B images, C classes, K active vectors of each view, P projection
dims, N negatives.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mlic.dtypes import at_least_float32
from mlic.models.layers.gather import gather_rows
from mlic.models.targets import is_absent, is_present


def count_missing(target: Tensor, num_views: int, denominator_size: int, gather: bool) -> int:
    """How many vectors the active ones (of all processes, with ``gather``) fall short of M."""
    target = is_present(target).to(torch.uint8)
    target = gather_rows(target) if gather else target
    return max(denominator_size - num_views * int(target.sum()), 0)


def hardest_candidates(cls_score: Tensor, target: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The inactive entries of this process with the highest logits.

    Args:
        cls_score (Tensor): (V, B, C) logits.
        target (Tensor): (B, C); a class with less than 0.5 is inactive (one that is unknown is
            neither).
        count (int): How many to take.

    Returns:
        tuple[Tensor]: Logits (n,) and indices (n,) into ``cls_score.flatten()``, n = ``count`` or
        V * B * C if that is less: where too few are inactive, the rest has the logit -inf.
    """
    score = cls_score.detach().float().masked_fill(~is_absent(target), -torch.inf).flatten()
    return tuple(score.topk(min(count, len(score))))


def choose_negatives(z: Tensor, score: Tensor, count: int, gather: bool) -> Tensor:
    """The candidates z (n, P) with the highest finite logits (n,), of all processes: (N, P)."""
    if gather:
        z, score = gather_rows(z), gather_rows(score)
    best = score.topk(min(count, len(score)))
    return z[best.indices[torch.isfinite(best.values)]]


def hard_negative_term(z: Tensor, negatives: Tensor, temperature: float = 0.2) -> Tensor:
    r"""What ``supcon_loss`` grows by when N inactive vectors enter all its denominators.

    With :math:`A_i = \sum_{a \ne i} e^{s(i,a)}` over the other active vectors and
    :math:`N_i = \sum_n e^{s(i,n)}` over the negatives:

    .. math::
        L_{with} - L_{without} = \frac{1}{V K} \sum_i \log(1 + N_i / A_i)

    Every active vector is an anchor, which needs at least two views.

    Args:
        z (Tensor): (V, K, P), not normalised, V >= 2.
        negatives (Tensor): (N, P), not normalised.
        temperature (float): Divides the cosine. Defaults to 0.2.

    Returns:
        Tensor: A scalar, at least float32. Zero with a graph without anchors or negatives.

    Raises:
        ValueError: If there are fewer than two views.

    Example:
        >>> import torch
        >>> from projects.mulcon import hard_negative_term
        >>> z = torch.eye(4)[:2].expand(2, 2, 4)  # two views of two vectors
        >>> round(hard_negative_term(z, negatives=torch.eye(4)[2:]).item(), 4)
        0.0132
    """
    if len(z) < 2:
        raise ValueError(f'hard negatives need at least two views, got {len(z)}')
    if not z.numel() or not negatives.numel():
        return (z.sum() + negatives.sum()).float() * 0.0
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(at_least_float32(z), dim=-1, eps=1e-12).flatten(0, 1)  # (V * K, P)
        negatives = F.normalize(negatives.to(z.dtype), dim=-1, eps=1e-12)
        active = (z @ z.T / temperature).fill_diagonal_(-torch.inf).logsumexp(dim=1)  # (V * K,)
        inactive = (z @ negatives.T / temperature).logsumexp(dim=1)
        return F.softplus(inactive - active).mean()
