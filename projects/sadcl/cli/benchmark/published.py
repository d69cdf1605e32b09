"""The published algorithm written plainly, to compare with: dense masks, whole bank, loops.

Written from its description (docs/reproduction.md), not from its code. Shapes: B images, C
classes, V views, D embed dims, P projection dims.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dense_sscl(features: Tensor, target: Tensor, temperature: float = 0.2) -> Tensor:
    """SSCL over all (V B C)^2 pairs, masked: (B, V, C, P), (B, C) → scalar."""
    num_images, num_views, num_classes, _ = features.shape
    z = F.normalize(features, dim=-1).transpose(0, 1).flatten(0, 2)  # (V B C, P)
    active = target.repeat(num_views, 1).flatten()  # (V B C,)
    classes = torch.arange(num_classes, device=z.device).repeat(num_views * num_images)
    similarity = z @ z.T / temperature
    similarity = similarity - similarity.max(dim=1, keepdim=True).values.detach()
    others = active[:, None] * active * (1 - torch.eye(len(z), device=z.device))
    positives = (classes[:, None] == classes).float() * others
    log_prob = similarity - torch.log((similarity.exp() * others).sum(1, keepdim=True) + 1e-5)
    mean_log_prob = (positives * log_prob).sum(1) / (positives.sum(1) + 1e-5)
    return -(active * mean_log_prob).sum() / active.sum()


def repeated_pscl(z: Tensor, prototypes: Tensor, target: Tensor, temperature: float) -> Tensor:
    """PSCL with the prototypes repeated for each image: (B, C, P), (C, P), (B, C) → scalar."""
    repeated = prototypes[None].repeat(len(z), 1, 1)
    similarity = F.cosine_similarity(z, repeated, dim=-1) / temperature  # (B, C)
    similarity = similarity - similarity.max(dim=0).values.detach()
    numerator = (similarity.exp() * target).sum(0)
    numerator = torch.where(target.sum(0) > 0, numerator, torch.ones_like(numerator))
    return -(numerator.log() - similarity.exp().sum(0).log()).sum() / target.sum()


def contrastive_losses(
    projector: nn.Module,
    label_embeds: Tensor,
    memory_bank: Tensor,
    prototypes: Tensor,
    target: Tensor,
) -> Tensor:
    """Both losses, with the whole bank projected with gradient."""
    z = projector(label_embeds)
    remembered = projector(memory_bank[: len(label_embeds)])
    sscl = dense_sscl(torch.stack([z, remembered], dim=1).float(), target)
    pscl = repeated_pscl(z.float(), projector(prototypes).float(), target, 0.07)
    return 100 * sscl + 50 * pscl


@torch.no_grad()
def update_bank(bank: Tensor, label_embeds: Tensor, score: Tensor, target: Tensor) -> None:
    """One label after the other, each asking the device for its score."""
    for image in range(len(target)):
        for label in range(target.shape[1]):
            if target[image, label].item() > 0 and score[image, label].item() > 0.8:
                bank[image, label] = label_embeds[image, label]
