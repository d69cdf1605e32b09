"""Which classes occur together in which kind of scene, counted while training.

Shapes in this module: B images, C classes, S scenes.
"""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.models.checks import check_counts
from mlic.models.layers.gather import sum_parts
from mlic.models.targets import is_present, target_of
from mlic.models.training_parts import TrainingParts


class SceneGraph(TrainingParts, nn.Module):
    r"""A graph over the classes for each scene, of SALGL (Zhu et al., ICCV 2023).

    :math:`n_{sij}`, ``counts``, says in how many training images of scene s the classes i and j
    were both present. The graph of a scene is :math:`n_{ij} / n_{ii}`, the share of the images with
    i that have j, and then each row is divided by its sum. An unknown label is in no pair: it
    counts as if it were absent. A class that no image of a scene has had has no edges there.

    The counts are of every image that was trained on, once an epoch, and never decay. They are in
    the checkpoint; a training of other classes takes over those of pairs that it has, too.

    Args:
        num_classes (int): C.
        num_scenes (int): S. Defaults to 6, as published.
        soft (bool): An image counts in all scenes, times their probabilities, and its graph is the
            mean of all graphs, weighed by them. Defaults to False: only in the likeliest.
        normalise (bool): Divide the rows by their sums. Defaults to True.
        ignore_self (bool): No class is its own neighbour. Defaults to False.

    Raises:
        ValueError: If there is no scene.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import SceneGraph
        >>> graph = SceneGraph(num_classes=3, num_scenes=2)
        >>> scenes = torch.tensor([[0.9, 0.1], [0.2, 0.8]])  # probabilities of two images
        >>> samples = [DataSample().set_gt_label([0, 1]), DataSample().set_gt_label([2])]
        >>> graph.count(scenes, samples).shape
        torch.Size([2, 3, 3])
        >>> graph(scenes)[0]
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    by_class = dict(counts=())
    graph_buffers = ('counts',)

    def __init__(
        self,
        num_classes: int,
        num_scenes: int = 6,
        soft: bool = False,
        normalise: bool = True,
        ignore_self: bool = False,
    ) -> None:
        super().__init__()
        check_counts(num_scenes=num_scenes)
        self.soft = soft
        self.normalise = normalise
        self.ignore_self = ignore_self
        # float32: exact up to 16.7 million images of a class in a scene
        self.register_buffer('counts', torch.zeros(num_scenes, num_classes, num_classes))
        self.register_buffer('constant_graphs', None, persistent=False)

    def before_export(self) -> None:
        """Form the graphs for good: ONNX takes + 1e-8 for nothing, and float16 cannot count."""
        self.constant_graphs = self.graphs(self.counts)

    def count(self, scenes: Tensor, data_samples: Sequence[DataSample]) -> Tensor:
        """Count a batch of images, and those of all other processes.

        Args:
            scenes (Tensor): (B, S), probabilities.
            data_samples (Sequence[DataSample]): B samples with labels.

        Returns:
            Tensor: The counts after it, (S, C, C). Soft ones have a gradient to ``scenes``, as in
            the released code.
        """
        target = target_of(data_samples, self.counts.shape[-1], scenes.dtype, scenes.device)
        with torch.autocast(scenes.device.type, enabled=False):
            present = is_present(target).to(self.counts)
            weights = self._weights(scenes).to(self.counts)
            counts = self.counts + sum_parts(
                torch.einsum('bs,bi,bj->sij', weights, present, present)
            )
        with torch.no_grad():
            self.counts.copy_(counts)
        return counts

    def graphs(self, counts: Tensor | None = None) -> Tensor:
        """The graph of each scene, (S, C, C), of its counts or of those given."""
        if counts is None:
            if self.constant_graphs is not None:
                return self.constant_graphs
            counts = self.counts
        graphs = counts / (counts.diagonal(dim1=1, dim2=2)[..., None] + 1e-8)
        if self.ignore_self:
            graphs = graphs * (1 - torch.eye(graphs.shape[-1]).to(graphs))
        return graphs / (graphs.sum(-1, keepdim=True) + 1e-8) if self.normalise else graphs

    def forward(self, scenes: Tensor, counts: Tensor | None = None) -> Tensor:
        """The graph of each image, (B, S) → (B, C, C); counts as in :meth:`graphs`."""
        if not self.soft:
            return self.graphs(counts)[scenes.argmax(-1)]
        with torch.autocast(scenes.device.type, enabled=False):
            return torch.einsum('bs,sij->bij', scenes, self.graphs(counts).to(scenes))

    def _weights(self, scenes: Tensor) -> Tensor:
        """What an image counts in each scene, (B, S)."""
        if self.soft:
            return scenes
        return nn.functional.one_hot(scenes.argmax(-1), scenes.shape[-1])
