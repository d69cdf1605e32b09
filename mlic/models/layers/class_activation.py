"""Where in a feature map a class is, by one linear map.

Shapes in this module: B images, C classes, K channels, h x w feature cells.
"""

from torch import Tensor, nn

from mlic.models.training_parts import TrainingParts


class ClassActivation(TrainingParts, nn.Conv2d):
    """Logits of each class in each cell, (B, K, h, w) → (B, C, h, w), without a bias.

    Args:
        in_channels (int): K.
        num_classes (int): C.

    Example:
        >>> import torch
        >>> from mlic.models import ClassActivation
        >>> ClassActivation(in_channels=16, num_classes=3)(torch.rand(2, 16, 7, 7)).shape
        torch.Size([2, 3, 7, 7])
    """

    by_class = dict(weight=(0,))

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, 1, bias=False)

    def attention_maps(self, feature_map: Tensor) -> Tensor:
        """Where each class is: the logits between 0 and 1, divided by their sum over the cells.

        What is gated by them is summed over the cells, so that a map does not say how much of a
        class the image has.

        Args:
            feature_map (Tensor): (B, K, h, w).

        Returns:
            Tensor: (B, C, h, w); each map sums to 1.
        """
        gates = self(feature_map).sigmoid()
        return gates / gates.sum((2, 3), keepdim=True)
