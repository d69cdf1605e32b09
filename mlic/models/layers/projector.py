"""From label embeddings to the space of a contrastive loss."""

from torch import nn


class Projector(nn.Sequential):
    """Linear, ReLU, Linear: (..., D) → (..., P), not normalised.

    Args:
        in_channels (int): D.
        proj_channels (int): P.
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
