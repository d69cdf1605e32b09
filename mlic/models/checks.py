"""What several modules check of their arguments, before they build anything of them."""

import inspect
import math

from mmpretrain.registry import MODELS
from torch import Tensor, nn

POOL_A_MAP = (
    "set neck=dict(type='GlobalAveragePooling') behind a backbone that gives a feature map "
    "(out_type='featmap', docs/backbones.md)"
)


def check_counts(**counts: int) -> None:
    """Refuse numbers of layers, heads and the like, by their names, that are below 1.

    Raises:
        ValueError: If one is.
    """
    for name, number in counts.items():
        if number < 1:
            raise ValueError(f'{name} must be at least 1, got {number}')


def check_heads(width: int, num_heads: int) -> None:
    """Refuse heads among which the channels cannot be divided.

    Raises:
        ValueError: If there is no head, or the width is no multiple of their number.
    """
    check_counts(num_heads=num_heads)
    if width % num_heads:
        raise ValueError(
            f'a width of {width} (embed_dims, or the channels that replace it) is no multiple of '
            f'num_heads={num_heads}'
        )


def check_losses(losses: dict[str, Tensor], of: nn.Module) -> dict[str, Tensor]:
    """What ``other_losses`` of a head returned; mmengine would train without some of it.

    Raises:
        TypeError: If it is no dict.
        ValueError: If what has a gradient has no "loss" in its name, or one has the name of the
            classification loss or of the sum.
    """
    where = f'{type(of).__name__}.other_losses returned'
    if not isinstance(losses, dict):
        raise TypeError(
            f'{where} a {type(losses).__name__}: it must be a dict of losses, such as '
            'dict(loss_own=...), or {} without any'
        )
    for name, value in losses.items():
        if name in ('loss', 'loss_cls'):
            raise ValueError(f'{where} {name!r}, which is the name of another: use loss_own')
        if 'loss' not in name and getattr(value, 'requires_grad', False):
            raise ValueError(
                f'{where} {name!r}, with which the model would not be trained: name it '
                f"'loss_{name}', or detach() what is only to be logged"
            )
    return losses


def log_odds(prior_prob: float) -> float:
    """The logit of a probability.

    Raises:
        ValueError: If it is not between 0 and 1, both excluded.
    """
    if not 0 < prior_prob < 1:
        raise ValueError(f'prior_prob must lie between 0 and 1, got {prior_prob}')
    return math.log(prior_prob / (1 - prior_prob))


def build_contrast(loss: dict, *given: str) -> nn.Module:
    """Build a contrastive loss, of the arguments that are called so.

    Raises:
        ValueError: If it takes another number of them.
    """
    built = MODELS.build(loss)
    taken = inspect.signature(built.forward)
    try:
        taken.bind(*given)
    except TypeError as error:
        raise ValueError(
            f'{type(built).__name__} is not for this head, which has {", ".join(given)} for it: it '
            f'takes {", ".join(taken.parameters)}'
        ) from error
    return built


def no_feature_map(feat: object) -> str:
    """What a backbone gives instead of maps (B, K, h, w), and what to set, for a message."""
    if isinstance(feat, Tensor):
        gives, of_tokens = tuple(feat.shape), feat.dim() == 3 and feat.shape[1] <= 2
        pools = feat.dim() == 2 or of_tokens
    else:
        several = feat if isinstance(feat, (list, tuple)) else ()
        parts = [tuple(getattr(part, 'shape', ())) for part in several]
        pools, gives = True, f'a {type(feat).__name__}, {parts}'
    return (
        f'takes a feature map, and the backbone {"pools: it " * pools}gives {gives}; set '
        "out_type='featmap' in model.backbone of a transformer of mmpretrain, "
        'gap_before_final_norm=False of a ConvNeXt, EdgeNeXt, HorNet or TinyViT (docs/backbones.md)'
    )
