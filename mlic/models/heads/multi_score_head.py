"""The head of models that score each class in several ways.

Shapes in this module: B images, C classes.
"""

from collections.abc import Mapping

from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.models.heads.known_label_head import KnownLabelHead
from mlic.models.losses.known_labels import loss_of_known


class MultiScoreHead(KnownLabelHead):
    """Several logits for a class, and what is made of them.

    A method's head extends it: :meth:`scores` gives the logits by name, :meth:`fuse` the ones that
    are predicted. ``loss_weights`` says which of them, by name, have a loss of their own, besides
    the fused ones, ``'cls'``.

    Args:
        num_classes (int): C.
        loss_weights (Mapping[str, float], optional): Weight of the loss of each score that has
            one; the log has them as ``loss_NAME``. Defaults to None: 1 for the fused score alone.
        loss_cls, thr, topk, init_cfg: See :class:`KnownLabelHead`.

    Example:
        >>> import torch
        >>> from mlic.models import MultiScoreHead
        >>> class MeanAndPeak(MultiScoreHead):
        ...     def scores(self, feats):
        ...         return dict(mean=feats[-1].mean((2, 3)), peak=feats[-1].amax((2, 3)))
        ...     def fuse(self, scores):
        ...         return (scores['mean'] + scores['peak']) / 2
        ...
        >>> head = MeanAndPeak(num_classes=3)
        >>> head((torch.rand(2, 3, 7, 7),)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        loss_weights: Mapping[str, float] | None = None,
        loss_cls: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss_cls, thr, topk, init_cfg)
        self.loss_weights = dict(loss_weights or dict(cls=1.0))

    def scores(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Logits (B, C) by name."""
        raise NotImplementedError

    def fuse(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The logits (B, C) that are predicted."""
        raise NotImplementedError

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Features of backbone and neck to fused logits (B, C)."""
        return self.fuse(self.scores(feats))

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_NAME`` of each weighted score of B samples with ``gt_score`` or ``gt_label``.

        Raises:
            ValueError: If ``loss_weights`` names a score that is not there.
        """
        scores = self.scores(feats)
        scores = dict(scores, cls=self.fuse(scores))
        unknown = set(self.loss_weights) - set(scores)
        if unknown:
            raise ValueError(
                f'loss_weights names {", ".join(sorted(unknown))}, and the scores of '
                f'{type(self).__name__} are {", ".join(sorted(scores))}'
            )
        target = self.target_of(data_samples, scores['cls'])
        return {
            f'loss_{name}': weight * loss_of_known(self.loss_module, scores[name], target)
            for name, weight in self.loss_weights.items()
        }
