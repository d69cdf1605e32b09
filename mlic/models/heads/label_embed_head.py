"""The head of models that have an embedding for each class in each image.

Shapes in this module: B images, C classes, D embed dims.
"""

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.models.checks import check_losses
from mlic.models.heads.known_label_head import KnownLabelHead
from mlic.models.layers.group_linear import GroupLinear
from mlic.models.losses.known_labels import loss_of_known


@MODELS.register_module()
class LabelEmbedHead(KnownLabelHead):
    """Label embeddings to scores, with one linear map per class (:class:`GroupLinear`).

    A method's head extends it: :meth:`other_losses` is where losses on the embeddings go, and the
    attributes of ``TrainingParts`` say what of the head they alone need.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the label embeddings.
        loss_cls (dict, optional): The ``loss`` of :class:`KnownLabelHead`. Defaults to None.
        prior_prob (float, optional): See :class:`GroupLinear`. Defaults to None.
        thr, topk, init_cfg: See :class:`KnownLabelHead`.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import LabelEmbedHead
        >>> head = LabelEmbedHead(num_classes=3, in_channels=8)
        >>> label_embeds = torch.rand(2, 3, 8)
        >>> head((label_embeds,)).shape
        torch.Size([2, 3])
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([])]
        >>> list(head.loss((label_embeds,), samples))
        ['loss_cls']
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: dict | None = None,
        prior_prob: float | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss_cls, thr, topk, init_cfg)
        self.in_channels = in_channels
        self.fc = GroupLinear(num_classes, in_channels, prior_prob)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last item, ``label_embeds`` (B, C, D).

        Raises:
            ValueError: If it has another shape.
        """
        label_embeds = super().pre_logits(feats)
        wanted = self.num_classes, self.in_channels
        if label_embeds.shape[1:] != wanted:
            raise ValueError(
                f'{type(self).__name__}(num_classes={wanted[0]}, in_channels={wanted[1]}) takes '
                f'label embeddings (B, {wanted[0]}, {wanted[1]}), got {tuple(label_embeds.shape)}'
            )
        return label_embeds

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Label embeddings, the last item (B, C, D), to logits (B, C)."""
        return self.fc(self.pre_logits(feats))

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls``, see :class:`KnownLabelHead`, and :meth:`other_losses`.

        Args:
            feats (tuple[Tensor]): The last item is ``label_embeds`` (B, C, D).
            data_samples (list[DataSample]): B samples with ``gt_score`` (C,) or ``gt_label``.
        """
        label_embeds = self.pre_logits(feats)
        cls_score = self.fc(label_embeds)
        target = self.target_of(data_samples, cls_score)
        losses = dict(loss_cls=loss_of_known(self.loss_module, cls_score, target))
        losses.update(check_losses(self.other_losses(label_embeds, cls_score, target), self))
        return losses

    def other_losses(
        self, label_embeds: Tensor, cls_score: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """A method's losses by name, of (B, C, D), logits (B, C) and a target (B, C): none.

        A loss that asks which classes an image has takes :func:`mlic.models.targets.is_present`,
        and for the list of all positive labels :func:`mlic.models.targets.positive_pairs`.
        Unknown entries of the target are NaN, neither present nor ``is_absent``.
        """
        return {}
