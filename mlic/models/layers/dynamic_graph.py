"""A graph over the classes that each image has for itself.

Shapes in this module: B images, C classes, D width of a node, G width of the context.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlic.models.training_parts import TrainingParts

SLOPE = 0.2  # of every leaky ReLU


class DynamicGraph(TrainingParts, nn.Module):
    r"""The dynamic graph of ADD-GCN (Ye et al., ECCV 2020), which TDRG has, too.

    Of the nodes :math:`h_c` of an image and a vector x that describes all of it, with
    :math:`\lambda` the leaky ReLU of slope 0.2:

    .. math::
        g = \lambda(\mathrm{BN}(W_g x)), \quad A_{ic} = \sigma(w_i [g; h_c] + b_i), \quad
        u_c = \lambda(W_u\, \lambda(\textstyle\sum_i A_{ic} h_i))

    Each W has a bias, too. The batch norm is over the images: training needs two in a batch.

    Args:
        num_classes (int): C.
        embed_dims (int): D.
        context_channels (int): G.

    Example:
        >>> import torch
        >>> from mlic.models import DynamicGraph
        >>> graph = DynamicGraph(num_classes=3, embed_dims=8, context_channels=16)
        >>> graph(torch.rand(2, 3, 8), torch.rand(2, 16)).shape
        torch.Size([2, 3, 8])
    """

    by_class = {'correlation.weight': (0,), 'correlation.bias': (0,)}
    least_images = 2

    def __init__(self, num_classes: int, embed_dims: int, context_channels: int) -> None:
        super().__init__()
        self.context = nn.Linear(context_channels, context_channels)
        self.context_norm = nn.BatchNorm1d(context_channels)
        self.correlation = nn.Linear(context_channels + embed_dims, num_classes)
        self.update = nn.Linear(embed_dims, embed_dims)

    def weights(self, nodes: Tensor, context: Tensor) -> Tensor:
        """Weights (B, C, C) of nodes (B, C, D) and a context (B, G).

        Entry (b, c, i) says how much of class i class c gets, between 0 and 1.

        Raises:
            ValueError: In training, of one image.
        """
        if self.training and self.context_norm.training and len(context) < self.least_images:
            raise ValueError(
                'the dynamic graph normalises over the images of a batch and got one: train with '
                'train_dataloader.batch_size of at least 2 and drop_last=True'
            )
        context = F.leaky_relu(self.context_norm(self.context(context)), SLOPE)
        context = context[:, None].expand(-1, nodes.shape[1], -1)
        return self.correlation(torch.cat([context, nodes], dim=-1)).sigmoid()

    def forward(self, nodes: Tensor, context: Tensor) -> Tensor:
        """Nodes (B, C, D) and a context (B, G) → what is added to each node, (B, C, D)."""
        gathered = F.leaky_relu(self.weights(nodes, context) @ nodes, SLOPE)
        return F.leaky_relu(self.update(gathered), SLOPE)
