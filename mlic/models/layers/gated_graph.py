"""A gated graph network over the classes.

Shapes in this module: B images, C classes, K channels.
"""

import torch
from torch import Tensor, nn


class GatedGraph(nn.Module):
    r"""The gated graph network of Li et al. (ICLR 2016) as SSGRL (Chen et al., ICCV 2019) has it.

    With H the nodes and A the graph, a step is

    .. math::
        m &= [A H; A^\top H] \\
        z &= \sigma(W_z m + U_z H), \quad r = \sigma(W_r m + U_r H) \\
        H &\leftarrow (1 - z) \odot H + z \odot \tanh(W m + U (r \odot H))

    each with biases; all steps have the same weights.

    Args:
        channels (int): K.
        num_steps (int): Defaults to 3.
        shared_gate (bool): The reset gate takes the update gate's :math:`U_z` and its bias for its
            own, as in SSGRL's released code, in which :math:`U_r` is there and is never used.
            Defaults to False: as in the paper, and in the same laboratory's later code.
        both_ways (bool): Without it, m is :math:`A H` alone. Defaults to True.

    Example:
        >>> import torch
        >>> from mlic.models import GatedGraph
        >>> GatedGraph(channels=8)(torch.rand(2, 3, 8), torch.eye(3)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        channels: int,
        num_steps: int = 3,
        shared_gate: bool = False,
        both_ways: bool = True,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.both_ways = both_ways
        width = 2 * channels if both_ways else channels
        self.update_w = nn.Linear(width, channels)
        self.update_u = nn.Linear(channels, channels)
        self.reset_w = nn.Linear(width, channels)
        self.reset_u = None if shared_gate else nn.Linear(channels, channels)
        self.new_w = nn.Linear(width, channels)
        self.new_u = nn.Linear(channels, channels)

    def forward(self, nodes: Tensor, graph: Tensor) -> Tensor:
        """(B, C, K) and a graph (C, C), or one for each image (B, C, C), → (B, C, K)."""
        graph = graph.to(nodes.dtype)
        for _ in range(self.num_steps):
            message = graph @ nodes
            if self.both_ways:
                message = torch.cat([message, graph.mT @ nodes], dim=-1)  # (B, C, 2 K)
            kept = self.update_u(nodes)
            update = (self.update_w(message) + kept).sigmoid()
            reset = kept if self.reset_u is None else self.reset_u(nodes)
            reset = (self.reset_w(message) + reset).sigmoid()
            new = (self.new_w(message) + self.new_u(reset * nodes)).tanh()
            nodes = nodes + update * (new - nodes)
        return nodes
