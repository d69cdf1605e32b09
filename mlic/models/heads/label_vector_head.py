"""The head of models that score an image's pooled features against vectors of the classes.

Shapes in this module: B images, C classes, K input channels.
"""

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.models.checks import check_losses
from mlic.models.heads.known_label_head import KnownLabelHead
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.label_vectors import LabelVectors
from mlic.models.losses.known_labels import loss_of_known


class LabelVectorHead(KnownLabelHead):
    r"""The largest value of each channel, f (K,), and the classes' vectors, ``self.vectors``.

    A method's head extends it: :meth:`class_part` is what it makes of the classes, the same for all
    images of a batch, :meth:`score` the logits of both, by default their product.

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        vectors (dict, optional): Arguments of ``LabelVectors``. Defaults to None: 300 numbers
            a class, learned.
        pool_size (int, optional): Use only this many of the map's first rows and columns. The
            released code of ML-GCN, DSDL and CPCL does so with 14, which is the whole map at 448 px
            and its upper left part at 576. Defaults to None: the whole map.
        loss, thr, topk, init_cfg: See :class:`KnownLabelHead`.

    Example:
        >>> import torch
        >>> from mlic.models import LabelVectorHead
        >>> class LinearOfVectors(LabelVectorHead):
        ...     def class_part(self):
        ...         return self.vectors()
        ...
        >>> head = LinearOfVectors(num_classes=3, in_channels=8, vectors=dict(dims=8))
        >>> head((torch.rand(2, 8, 7, 7),)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        vectors: dict | None = None,
        pool_size: int | None = None,
        loss: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss, thr, topk, init_cfg)
        self.in_channels = in_channels
        self.pool_size = pool_size
        self.vectors = LabelVectors(num_classes, **(vectors or {}))
        self.register_buffer('constant_part', None, persistent=False)

    def class_part(self) -> Tensor:
        """What is made of the classes alone, such as their classifiers (C, K)."""
        raise NotImplementedError

    def score(self, pooled: Tensor, class_part: Tensor) -> Tensor:
        """Pooled features (B, K), of the dtype of ``class_part``, to logits (B, C)."""
        return pooled @ class_part.T

    def before_export(self) -> None:
        """Form ``class_part`` for good: in an exported file it is a constant."""
        with torch.no_grad():
            self.constant_part = self.class_part()

    def pooled(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last feature map, (B, K, h, w) or tokens (B, T, K), to its largest values (B, K).

        Raises:
            ValueError: If the map has other channels.
        """
        feature_map = as_feature_map(self.pre_logits(feats), self)
        size = self.pool_size
        if size is not None:
            feature_map = feature_map[..., :size, :size]
        return feature_map.amax((2, 3))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Feature maps, see :meth:`pooled`, to logits (B, C), without autocast."""
        pooled = self.pooled(feats)
        with torch.autocast(pooled.device.type, enabled=False):
            part = self.class_part() if self.constant_part is None else self.constant_part
            return self.score(pooled.to(part.dtype), part)

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls``, see :class:`KnownLabelHead`, and :meth:`other_losses`."""
        cls_score = self(feats)
        target = self.target_of(data_samples, cls_score)
        losses = dict(loss_cls=loss_of_known(self.loss_module, cls_score, target))
        losses.update(check_losses(self.other_losses(cls_score, target), self))
        return losses

    def other_losses(self, cls_score: Tensor, target: Tensor) -> dict[str, Tensor]:
        """A method's losses by name, of logits (B, C) and a target (B, C), NaN where unknown."""
        return {}
