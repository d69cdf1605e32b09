"""MulCon's head: class scores, and the contrast of label embeddings between views.

Shapes in this module: V views, B images, C classes, D embed dims, P projection dims, K positive
(image, class) pairs of the batch, N hard negatives.
"""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.dtypes import at_least_float32
from mlic.models.checks import build_contrast
from mlic.models.heads.label_embed_head import LabelEmbedHead
from mlic.models.layers.gather import gather_active
from mlic.models.layers.projector import Projector
from mlic.models.targets import host_copy, positive_pairs, with_host_copy

from .hard_negatives import choose_negatives, count_missing, hard_negative_term, hardest_candidates

PUBLISHED_CONTRAST = dict(type='SupConLoss', temperature=0.2, loss_weight=0.5)


@MODELS.register_module()
class MulConHead(LabelEmbedHead):
    """Scores of one linear map per class, and MulCon's loss: mean BCE + 0.5 of the contrast.

    The contrast (``loss_con``) is supervised contrast per class over the projected embeddings of
    the positive labels in V augmented views of each image: ``SupConLoss``. Its first
    step trains without it: ``loss_con=None``, one view, no projector. Prediction does not use the
    projector.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the label embeddings. Defaults to 1024.
        proj_channels (int): P. Defaults to 128.
        num_views (int): V: the rows of a training batch are all images of the first view, then
            all of the second, as ``MultiViewDataPreprocessor`` joins them. Defaults to 2; at
            least 2 with ``loss_con``, or a class with one image has no partner.
        loss_cls (dict, optional): See ``LabelEmbedHead``. Defaults to None.
        loss_con (dict, optional): Loss of active vectors (V, K, P). Defaults to the published
            ``SupConLoss(temperature=0.2, loss_weight=0.5)``. None: off.
        denominator_size (int, optional): M: while a batch has fewer active vectors, the inactive
            ones with the highest logits enter the denominators, and only these. 0 and None: none.
            Defaults to 0.
        prior_prob, thr, topk, init_cfg: See ``LabelEmbedHead``.

    Raises:
        ValueError: If ``num_views`` is too small, ``denominator_size`` has no ``loss_con``, or that
            is a loss of other arguments.

    A soft target of at least 0.5 is a positive label to the contrast; an unknown one (NaN) is none,
    and no hard negative either.

    With ``gather=True`` in ``loss_con`` (the default there) the contrast is over the batch of all
    processes, hard negatives included.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.mulcon import MulConHead
        >>> head = MulConHead(num_classes=3, in_channels=8, proj_channels=4)
        >>> label_embeds = torch.rand(4, 3, 8)  # of two views of two images
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])] * 2
        >>> list(head.loss((label_embeds,), samples))
        ['loss_cls', 'loss_con']
    """

    training_only = ('projector',)
    off_in_prediction = ('loss_con', 'denominator_size')

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        proj_channels: int = 128,
        num_views: int = 2,
        loss_cls: dict | None = None,
        loss_con: dict | None = PUBLISHED_CONTRAST,
        denominator_size: int | None = 0,
        prior_prob: float | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, prior_prob, thr, topk, init_cfg)
        if num_views < (1 if loss_con is None else 2):
            raise ValueError(f'the contrast needs num_views of at least 2, got {num_views}')
        self.num_views = num_views
        self.denominator_size = denominator_size
        self.loss_con = self.projector = None
        if loss_con is not None:
            self.loss_con = build_contrast(loss_con, 'z', 'target', 'image', 'label')
            self.projector = Projector(in_channels, proj_channels)
        elif denominator_size:
            raise ValueError('denominator_size belongs to loss_con, which is None')

    def other_losses(
        self, label_embeds: Tensor, cls_score: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """``loss_con``, if configured, of V * B rows by view.

        Raises:
            ValueError: If the rows are not those of V views of the same images.
        """
        if self.loss_con is None:
            return {}
        num_images, rest = divmod(len(target), self.num_views)
        host = host_copy(target)
        first = host[:num_images].repeat(self.num_views, 1)
        if rest or not torch.equal(first.nan_to_num(-1), host.nan_to_num(-1)):
            raise ValueError(
                f'MulConHead(num_views={self.num_views}) takes {self.num_views} views of each '
                f'image, and {len(target)} rows are not that: use the transform MultiView with '
                f'num_views={self.num_views}, and a MultiViewDataPreprocessor'
            )
        target = with_host_copy(target[:num_images], host[:num_images])  # (B, C)
        image, label = positive_pairs(target)  # (K,), (K,)
        views = label_embeds.unflatten(0, (self.num_views, num_images))  # (V, B, C, D)
        z = self.projector(views[:, image, label])  # (V, K, P)
        loss = self.loss_con(z, target, image, label)
        if self.denominator_size:
            loss = loss + self._hard_negatives(z, label_embeds, cls_score, target, image, label)
        return dict(loss_con=loss)

    def _hard_negatives(
        self,
        z: Tensor,
        label_embeds: Tensor,
        cls_score: Tensor,
        target: Tensor,
        image: Tensor,
        label: Tensor,
    ) -> Tensor:
        """What the hard negatives add to the contrast, weighted."""
        gather = self.loss_con.gather
        missing = count_missing(target, self.num_views, self.denominator_size, gather)
        if not missing:
            return z.sum() * 0.0
        score = cls_score.unflatten(0, (self.num_views, -1))
        score, index = hardest_candidates(score, target, missing)
        candidates = at_least_float32(self.projector(label_embeds.flatten(0, 1)[index]))  # (n, P)
        negatives = choose_negatives(candidates, score, missing, gather)
        if gather:
            z = gather_active(at_least_float32(z), target, image, label)[0]
        return self.loss_con.loss_weight * hard_negative_term(
            z, negatives, self.loss_con.temperature
        )
