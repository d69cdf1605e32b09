"""The seam for pictures of attention: a neck that has it says where each class looks."""

from torch import nn


def attentive_neck(model: nn.Module) -> nn.Module:
    """The model's neck, with ``attention_maps``: features of the backbone → (B, C, h, w).

    Raises:
        ValueError: If the model has no such neck.
    """
    neck = getattr(model, 'neck', None)
    if not hasattr(neck, 'attention_maps'):
        name = 'no neck' if neck is None else type(neck).__name__
        raise ValueError(
            f'no attention to show: the model has {name}, and it has no attention_maps'
        )
    return neck
