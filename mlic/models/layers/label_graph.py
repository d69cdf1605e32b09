"""Which classes occur together, as a matrix that graph networks spread their nodes over.

Shapes in this module: C classes.
"""

import torch
from torch import Tensor, nn

from mlic.class_info import ClassInfo
from mlic.models.training_parts import TrainingParts
from mlic.names import counted, first_names


class LabelGraph(TrainingParts, nn.Module):
    r"""The matrix (C, C) of a graph over the classes, made of the training set's known labels.

    With :math:`p_{ij}` the share of the images with class i that have class j, too:

    - ``'conditional'``: :math:`p_{ij}`, 1 on the diagonal (SSGRL, Chen et al., ICCV 2019, in its
      authors' later code).
    - ``'reweighted'``: an edge from i to j ≠ i where :math:`p_{ij}` is at least ``threshold``; the
      edges that end in a class weigh ``neighbours`` together, and each class has an edge of weight
      1 to itself; then :func:`normalised` (ML-GCN, Chen et al., CVPR 2019).

    A class that no training image has gets no edges but the one to itself. The matrix is a buffer:
    it is what ``ClassInfoHook`` makes of the training set, or a checkpoint has, and else the
    identity.

    Args:
        num_classes (int): C.
        kind (str): Defaults to 'conditional'.
        threshold (float): Least share for an edge, of 'reweighted'. Defaults to 0.4.
        neighbours (float): Weight of all edges to a class, of 'reweighted'. Defaults to 0.25,
            the released code's (its text has 0.2).

    Raises:
        ValueError: If there is no such kind.

    Example:
        >>> from mlic.class_info import ClassInfo
        >>> from mlic.datasets import DigitScenes
        >>> from mlic.models import LabelGraph
        >>> scenes = DigitScenes(num_images=50)
        >>> graph = LabelGraph(num_classes=10)
        >>> graph.learn_classes(ClassInfo(scenes, scenes.CLASSES))  # as ClassInfoHook does
        ['Label graph (conditional): 82 edges among 10 classes']
        >>> graph().shape
        torch.Size([10, 10])
    """

    by_class = dict(matrix=())  # of the data that are trained on, whatever it starts from
    graph_buffers = constant_buffers = ('matrix',)  # (C, C)

    def __init__(
        self,
        num_classes: int,
        kind: str = 'conditional',
        threshold: float = 0.4,
        neighbours: float = 0.25,
    ) -> None:
        super().__init__()
        if kind not in ('conditional', 'reweighted'):
            raise ValueError(f"a label graph is 'conditional' or 'reweighted', got {kind!r}")
        self.kind = kind
        self.threshold = threshold
        self.neighbours = neighbours
        self.register_buffer('matrix', torch.eye(num_classes))

    def learn_classes(self, info: ClassInfo) -> list[str]:
        """Make the matrix; says how many edges it has, and which classes have none."""
        share = torch.from_numpy(info.conditional.copy())
        share.fill_diagonal_(1)
        if self.kind == 'reweighted':
            share = normalised(reweighted(share, self.threshold, self.neighbours))
        self.matrix.copy_(share)
        edges = int((self.matrix != 0).sum()) - len(self.matrix)
        among = counted(len(self.matrix), 'class')
        lines = [f'Label graph ({self.kind}): {counted(edges, "edge")} among {among}']
        if info.empty:
            lines.append(
                f'Label graph: {counted(len(info.empty), "class")} without a training image, '
                f'so without edges: {first_names(info.empty, 20)}'
            )
        return lines

    def forward(self) -> Tensor:
        """(C, C)."""
        return self.matrix


def reweighted(share: Tensor, threshold: float, neighbours: float) -> Tensor:
    """ML-GCN's matrix A (C, C), 1 on the diagonal, of shares (C, C) whose diagonal is not read."""
    edges = (share >= threshold).to(share.dtype).fill_diagonal_(0)
    weights = edges * neighbours / (edges.sum(0, keepdim=True) + 1e-6)
    return weights.fill_diagonal_(1)


def normalised(weights: Tensor) -> Tensor:
    r""":math:`D^{-1/2} A^T D^{-1/2}` of A (C, C), with D the sums of its rows; transposed as in
    the released code."""
    scale = weights.sum(1).rsqrt()
    return scale[:, None] * weights.T * scale


def with_normalised_graph(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The matrix of a head's graph as it is used; ML-GCN's code normalises it in every step."""
    if 'head.graph.matrix' in weights:
        weights['head.graph.matrix'] = normalised(weights['head.graph.matrix'])
    return weights
