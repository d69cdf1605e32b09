"""The seam for pictures of attention: a neck or head that has it says where each class looks.

Shapes in this module: B images, C classes, h x w attention cells.
"""

from collections.abc import Sequence

from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.models.given_labels import TakesGivenLabels, given_labels


def is_attentive(model: nn.Module) -> bool:
    """Whether a model's neck or head has ``attention_maps``."""
    parts = (getattr(model, key, None) for key in ('neck', 'head'))
    return any(hasattr(part, 'attention_maps') for part in parts)


def check_attentive(model: nn.Module) -> None:
    """Refuse a model without maps.

    Raises:
        ValueError: If it is not :func:`is_attentive`.
    """
    if not is_attentive(model):
        parts = {key: getattr(model, key, None) for key in ('neck', 'head')}
        names = [
            f'no {key}' if part is None else type(part).__name__ for key, part in parts.items()
        ]
        raise ValueError(
            f'no attention to show: the model has {" and ".join(names)}, without attention_maps'
        )


def attention_maps(
    model: nn.Module,
    feats: tuple[Tensor, ...],
    data_samples: Sequence[DataSample] | None = None,
) -> Tensor:
    """The maps (B, C, h, w), not negative, of the backbone's features.

    ``neck.attention_maps`` takes those; ``head.attention_maps`` what the head takes, with the
    labels that the samples give if it can use some. The neck comes first, if both have it.

    Raises:
        ValueError: As :func:`check_attentive`.
    """
    check_attentive(model)
    neck = getattr(model, 'neck', None)
    if hasattr(neck, 'attention_maps'):
        return neck.attention_maps(feats)
    feats = head_input(model, feats)
    if isinstance(model.head, TakesGivenLabels):
        return model.head.attention_maps(feats, given_labels(data_samples, feats[-1].device))
    return model.head.attention_maps(feats)


def head_input(
    model: nn.Module, feats: tuple[Tensor, ...], inputs: Tensor | None = None
) -> tuple[Tensor, ...]:
    """What the head takes, of the backbone's features.

    Args:
        model (nn.Module): A classifier. One with ``look_again(inputs, feats)`` is asked for more.
        feats (tuple[Tensor]): Of its backbone.
        inputs (Tensor, optional): (B, 3, H, W), what the backbone saw. Defaults to None: without
            what a second look at them gives, which maps do not need.
    """
    neck = getattr(model, 'neck', None)
    feats = feats if neck is None else neck(feats)
    if inputs is None or not hasattr(model, 'look_again'):
        return feats
    return model.look_again(inputs, feats)
