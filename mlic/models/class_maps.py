"""Where a class is, of models that say it and of those that do not.

Shapes in this module: B images, C classes, K channels, h x w feature cells, M classes of an image.
"""

import torch
from mmpretrain.models import CSRAClsHead, GlobalAveragePooling
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from .attention_maps import attention_maps, head_input, is_attentive

KINDS = ('attention', 'cam', 'grad-cam')


def own_kind(model: nn.Module) -> str:
    """The first of ``KINDS`` that a model has."""
    if is_attentive(model):
        return 'attention'
    return 'cam' if _activation(model) else 'grad-cam'


def class_maps(
    model: nn.Module, feats: tuple[Tensor, ...], sample: DataSample, labels: Tensor, kind: str
) -> Tensor:
    """Maps of some classes of one image.

    Args:
        model (nn.Module): In evaluation mode.
        feats (tuple[Tensor]): Of its backbone, each (1, K, h, w).
        sample (DataSample): The image's.
        labels (Tensor): (M,), int64.
        kind (str): 'attention' is the model's own, see :func:`attention_maps`. 'cam' (Zhou et al.,
            CVPR 2016) is the logit of each cell, of CSRA or of a linear classifier after average
            pooling. 'grad-cam' (Selvaraju et al., ICCV 2017) is, of any model, the last feature
            map weighted by the mean gradient of the class's logit, below zero cut off.

    Returns:
        Tensor: (M, h, w), float32; 'cam' may be negative.

    Raises:
        ValueError: If the model has no map of this kind.
    """
    if kind == 'attention':
        return attention_maps(model, feats, [sample])[0, labels].float()
    if kind == 'grad-cam':
        return _grad_cam(model, feats, labels)
    weights = _activation(model)
    if weights is None:
        names = ' and '.join(type(getattr(model, key, None)).__name__ for key in ('neck', 'head'))
        raise ValueError(
            f'no cam of {names}: it takes CSRAClsHead, or GlobalAveragePooling and a linear head; '
            'grad-cam works for any model'
        )
    return sum(F.conv2d(feats[-1], weight)[0, labels] for weight in weights).float()


def _activation(model: nn.Module) -> list[Tensor] | None:
    """Weights (C, K, 1, 1) whose maps add up to the class activation; None of other models."""
    neck, head = (getattr(model, key, None) for key in ('neck', 'head'))
    if isinstance(head, CSRAClsHead) and neck is None:
        weights = [part.head.weight for part in head.csra_heads]
        return [weight / weight.norm(dim=1, keepdim=True) for weight in weights]
    if isinstance(neck, GlobalAveragePooling) and isinstance(getattr(head, 'fc', None), nn.Linear):
        return [head.fc.weight[..., None, None]]
    return None


@torch.enable_grad()
def _grad_cam(model: nn.Module, feats: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """The image stands in the batch once for each class: one way back for all."""
    if feats[-1].dim() != 4:
        raise ValueError(
            f'grad-cam takes a feature map (1, K, h, w), got {tuple(feats[-1].shape)}; a '
            "transformer's backbone gives one with out_type='featmap'"
        )
    copies = [feat.detach().expand(len(labels), *feat.shape[1:]) for feat in feats]
    last = copies[-1].clone().requires_grad_()  # (M, K, h, w); a head may view it otherwise
    scores = model.head(head_input(model, (*copies[:-1], last)))  # (M, C)
    (gradient,) = torch.autograd.grad(scores.gather(1, labels[:, None]).sum(), last)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * last).sum(dim=1).relu().float().detach()
