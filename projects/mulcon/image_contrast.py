"""Supervised contrast of whole images: what MulCon says hardly helps, and what it starts from.

Shapes in this module: N rows (images, or images of all views), C classes, D embed dims, P
projection dims.
"""

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.dtypes import at_least_float32
from mlic.models.checks import build_contrast
from mlic.models.layers.gather import gather_rows
from mlic.models.layers.projector import Projector
from mlic.models.losses.known_labels import loss_of_known
from mlic.models.losses.supcon_loss import SupConLoss, check_temperature
from mlic.models.targets import is_present, target_of
from mlic.models.training_parts import TrainingParts

CONTRAST = dict(type='ImageSupConLoss')


def image_supcon_loss(z: Tensor, target: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Supervised contrastive loss of images with several labels each.

    With :math:`s(n,m)` the cosine of two rows over the temperature and :math:`P_c(n)` the other
    rows that have class c, too, each label of a row is an anchor:

    .. math::
        L = -\frac{1}{M} \sum_{(n, c): y_{nc} = 1} \frac{1}{|P_c(n)|} \sum_{p \in P_c(n)}
            \Big[ s(n,p) - \log \sum_{a \neq n} e^{s(n,a)} \Big]

    M is the number of the positive (n, c); one without a partner adds 0 and is counted. It is the
    loss of Khosla et al. (NeurIPS 2020) where each row has one class.

    Args:
        z (Tensor): (N, P), not normalised.
        target (Tensor): (N, C); a class with at least 0.5 is present, an unknown one (NaN) not.
        temperature (float): Divides the cosine. Defaults to 0.2.

    Returns:
        Tensor: A scalar, at least float32. Zero with a graph if no class has two rows.

    Raises:
        ValueError: If the temperature is not positive.

    Example:
        >>> import torch
        >>> from projects.mulcon import image_supcon_loss
        >>> target = torch.tensor([[1, 0], [1, 1], [0, 1]])
        >>> round(image_supcon_loss(torch.eye(3), target).item(), 4)
        0.6931
    """
    check_temperature(temperature)
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(at_least_float32(z), dim=-1, eps=1e-12)
        present = is_present(target).to(z.dtype)  # (N, C)
        per_partner = present / (present.sum(dim=0) - 1).clamp(min=1)
        pairs = (per_partner @ present.T).fill_diagonal_(0)  # (N, N): sum of 1 / |P_c(n)|
        similarity = z @ z.T / temperature
        # finite, so that a single row has a sum, too
        similarity = similarity - torch.diag(similarity.new_full((len(z),), 1e30))
        log_prob = similarity - similarity.logsumexp(dim=1, keepdim=True)
        return -(pairs * log_prob).sum() / present.sum().clamp(min=1)


@MODELS.register_module()
class ImageSupConLoss(SupConLoss):
    """Supervised contrast of whole images; the mathematics is :func:`image_supcon_loss`.

    Args:
        temperature, loss_weight, gather: See ``SupConLoss``; gathered are images.

    Example:
        >>> import torch
        >>> from projects.mulcon import ImageSupConLoss
        >>> z = torch.eye(4)  # of four images
        >>> target = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]])
        >>> round(ImageSupConLoss()(z, target).item(), 4)
        1.0986
    """

    def forward(self, z: Tensor, target: Tensor) -> Tensor:
        """Weighted loss of z (N, P) and a target (N, C); see :func:`image_supcon_loss`."""
        if self.gather:
            z, target = (gather_rows(at_least_float32(rows)) for rows in (z, target))
        return self.loss_weight * image_supcon_loss(z, target, self.temperature)


@MODELS.register_module()
class ImageContrastHead(TrainingParts, MultiLabelLinearClsHead):
    """A linear classifier on pooled features, and supervised contrast of the same features.

    The control of all label-level contrasts: ``loss_cls`` of the scores and ``loss_con`` of the
    projected features of whole images. It takes views (``MultiView``) as more images. Prediction
    does not use the projector.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the pooled features.
        proj_channels (int): P. Defaults to 128.
        loss (dict, optional): Loss of logits and a multi-hot target. Defaults to None: binary
            cross-entropy, summed over classes.
        loss_con (dict, optional): Loss of (N, P) and a target. Defaults to ``ImageSupConLoss()``.
            None: off, the linear classifier alone.
        **kwargs: Of mmpretrain's ``MultiLabelLinearClsHead``.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.mulcon import ImageContrastHead
        >>> head = ImageContrastHead(num_classes=3, in_channels=8, proj_channels=4)
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])] * 2
        >>> list(head.loss((torch.rand(4, 8),), samples))
        ['loss_cls', 'loss_con']
    """

    training_only = ('projector',)
    off_in_prediction = ('loss_con',)
    by_class = {'fc.weight': (0,), 'fc.bias': (0,)}

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        proj_channels: int = 128,
        loss: dict | None = None,
        loss_con: dict | None = CONTRAST,
        **kwargs,
    ) -> None:
        loss = loss or dict(type='StopGradAsymmetricLoss')
        super().__init__(num_classes=num_classes, in_channels=in_channels, loss=loss, **kwargs)
        self.loss_con = self.projector = None
        if loss_con is not None:
            self.loss_con = build_contrast(loss_con, 'z', 'target')
            self.projector = Projector(in_channels, proj_channels)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Features, the last item (N, D), to logits (N, C), of the weights' precision."""
        pooled = self.pre_logits(feats)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.fc(pooled.to(self.fc.weight.dtype))

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_con`` of features, the last item (N, D), and N data samples."""
        pooled = self.pre_logits(feats)
        cls_score = self(feats)
        target = target_of(data_samples, cls_score.shape[1], cls_score.dtype, cls_score.device)
        losses = dict(loss_cls=loss_of_known(self.loss_module, cls_score, target))
        if self.loss_con is not None:
            losses['loss_con'] = self.loss_con(self.projector(pooled), target)
        return losses
