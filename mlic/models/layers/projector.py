"""From label embeddings to the space of a contrastive loss."""

from torch import nn


class Projector(nn.Sequential):
    """Linear, ReLU, Linear: (..., D) → (..., P), not normalised.

    Args:
        in_channels (int): D.
        proj_channels (int): P.

    Example:
        >>> import torch
        >>> from mlic.models import Projector
        >>> Projector(in_channels=8, proj_channels=4)(torch.rand(2, 3, 8)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, in_channels: int, proj_channels: int) -> None:
        super().__init__(
            nn.Linear(in_channels, in_channels),
            nn.ReLU(inplace=True),
            nn.Linear(in_channels, proj_channels),
        )

    def reset_parameters(self) -> None:
        """Draw both layers anew."""
        self[0].reset_parameters()
        self[2].reset_parameters()
