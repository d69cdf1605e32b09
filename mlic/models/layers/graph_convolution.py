"""A graph convolution over the classes. Shapes in this module: C classes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GraphConvolution(nn.Module):
    """The layer of Kipf and Welling (ICLR 2017), without a bias: ``graph @ nodes @ weight``.

    Args:
        in_channels (int): Width of the nodes.
        out_channels (int): Width of the result. The weight starts uniform in ±1/sqrt of it.

    Example:
        >>> import torch
        >>> from mlic.models import GraphConvolution
        >>> GraphConvolution(in_channels=8, out_channels=4)(torch.rand(3, 8), torch.eye(3)).shape
        torch.Size([3, 4])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        bound = 1 / math.sqrt(out_channels)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, nodes: Tensor, graph: Tensor) -> Tensor:
        """(C, in_channels) and a graph (C, C) → (C, out_channels)."""
        return graph @ (nodes @ self.weight)


def convolve(
    nodes: Tensor, graph: Tensor, first: GraphConvolution, *more: GraphConvolution
) -> Tensor:
    """Nodes (C, E) and a graph (C, C) through layers, with LeakyReLU of slope 0.2 between them."""
    nodes = first(nodes, graph)
    for layer in more:
        nodes = layer(F.leaky_relu(nodes, 0.2), graph)
    return nodes
