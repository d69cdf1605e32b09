"""The seam for pictures of attention: a neck or head that has it says where each class looks.

Shapes in this module: B images, C classes, h x w attention cells.
"""

from torch import Tensor, nn


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


def attention_maps(model: nn.Module, feats: tuple[Tensor, ...]) -> Tensor:
    """The maps (B, C, h, w), not negative, of the backbone's features.

    ``neck.attention_maps`` takes those; ``head.attention_maps`` what the head takes. The neck comes
    first, if both have it.

    Raises:
        ValueError: As :func:`check_attentive`.
    """
    check_attentive(model)
    neck = getattr(model, 'neck', None)
    if hasattr(neck, 'attention_maps'):
        return neck.attention_maps(feats)
    return model.head.attention_maps(head_input(model, feats))


def head_input(model: nn.Module, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What the head takes, of the backbone's features."""
    neck = getattr(model, 'neck', None)
    return feats if neck is None else neck(feats)
