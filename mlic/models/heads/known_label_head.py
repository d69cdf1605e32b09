"""The head that all heads of the toolkit extend, and its loss of the known labels.

Shapes in this module: B images, C classes.
"""

from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.models.losses.known_labels import loss_of_known
from mlic.models.targets import target_of
from mlic.models.training_parts import TrainingParts


class KnownLabelHead(TrainingParts, MultiLabelClsHead):
    """A multi-label head with a loss of its logits; a method's head adds ``forward``.

    Args:
        num_classes (int): C.
        loss (dict, optional): Loss of logits and a multi-hot target. Defaults to None: binary
            cross-entropy, averaged over images and classes.
        thr (float, optional): ``pred_label`` has the classes with at least this score.
            Defaults to None: 0.5, unless ``topk`` is set.
        topk (int, optional): ``pred_label`` has this many classes, if ``thr`` is not set.
            Defaults to None.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import KnownLabelHead
        >>> class Mean(KnownLabelHead):
        ...     def forward(self, feats):
        ...         return feats[-1].mean((2, 3))
        ...
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([])]
        >>> list(Mean(num_classes=3).loss((torch.rand(2, 3, 7, 7),), samples))
        ['loss_cls']
    """

    def __init__(
        self,
        num_classes: int,
        loss: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        loss = loss or dict(type='MultiLabelSoftMarginLoss')
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        self.num_classes = num_classes

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last of what the backbone or neck gives.

        Raises:
            TypeError: If that is no tuple.
        """
        if not isinstance(feats, (tuple, list)):
            raise TypeError(
                f'{type(self).__name__} takes a tuple of tensors, and what comes before it, neck '
                f'or backbone, returned a {type(feats).__name__}: let it return (x,)'
            )
        return feats[-1]

    def target_of(self, data_samples: list[DataSample], like: Tensor) -> Tensor:
        """The target (B, C) of B samples, see :func:`mlic.models.targets.target_of`.

        Args:
            data_samples (list[DataSample]): With ``gt_score`` (C,) or ``gt_label``.
            like (Tensor): Of the batch, such as its logits; the target is on its device.
        """
        return target_of(data_samples, self.num_classes, like.dtype, like.device)

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls`` of B samples with ``gt_score`` (C,) or ``gt_label``.

        Scores between 0 and 1, as Mixup and CutMix make them, are soft targets and go to the loss
        as they are; unknown labels (``gt_label_unknown``) are left out:
        :func:`mlic.models.losses.known_labels.loss_of_known`.
        """
        cls_score = self(feats)
        target = self.target_of(data_samples, cls_score)
        return dict(loss_cls=loss_of_known(self.loss_module, cls_score, target))
