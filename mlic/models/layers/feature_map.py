"""The map of features that a neck or head for label embeddings starts from."""

import math

from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor, nn

from mlic.models.checks import no_feature_map


def as_feature_map(feat: Tensor, taker: nn.Module, channels: int | None = None) -> Tensor:
    """A map (B, K, h, w) as it is; a transformer's tokens as such a map.

    Args:
        feat (Tensor): (B, K, h, w), or tokens (B, T, K) that stand row by row over a square grid;
            a class token before them, (B, 1 + T, K), is dropped. (B, K, T), as of MLP-Mixer, too.
        taker (nn.Module): The neck or head that takes it, with ``in_channels``.
        channels (int, optional): K of this map, if ``in_channels`` lists those of several.
            Defaults to None: ``in_channels``.

    Raises:
        ValueError: If the backbone pools, the channels are others, or tokens fill no square grid.
    """
    channels = channels or taker.in_channels
    is_tensor = isinstance(feat, Tensor)
    if is_tensor and feat.dim() == 4 and feat.shape[1] == channels:
        return feat
    name = type(taker).__name__
    owner = f'{name}(in_channels={taker.in_channels})'
    if not is_tensor or feat.dim() == 2:
        raise ValueError(f'{owner} {no_feature_map(feat)}')
    if feat.dim() == 3 and channels not in feat.shape[2:] and feat.shape[1] == channels:
        feat = feat.mT
    if feat.dim() != 3 or feat.shape[2] != channels:
        part = 'head' if isinstance(taker, MultiLabelClsHead) else 'neck'
        what_to_do = f"set the config's {part}.in_channels to the backbone's channels"
        if feat.dim() == 3 and len(feat) == channels:  # the last image of a tensor, not of a tuple
            what_to_do = 'give it a tuple of feature maps, (x,) instead of x'
        raise ValueError(
            f'{owner} takes a feature map (B, {channels}, h, w) or tokens (B, T, {channels}), '
            f'got {tuple(feat.shape)}; {what_to_do}'
        )
    count = feat.shape[1]
    if count in (1, 2):  # a class token alone, or with one of distillation, as of PiT
        raise ValueError(f'{owner} {no_feature_map(feat)}')
    for extra in (0, 1):  # without and with a class token
        side = math.isqrt(max(count - extra, 0))
        if side and side**2 == count - extra:
            return feat[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise ValueError(
        f'{name} cannot place {count} tokens, {tuple(feat.shape)}: neither '
        f'{count} nor {count - 1} (without a class token) is a square; let the backbone give a '
        "feature map, as out_type='featmap' does in mmpretrain's transformers"
    )
