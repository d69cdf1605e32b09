"""Sine position encoding of a feature map, as DETR defines it."""

import math

import torch
from torch import Tensor


def sine_position_encoding(
    height: int, width: int, embed_dims: int, device: torch.device | str = 'cpu'
) -> Tensor:
    r"""Fixed position encoding (Carion et al., ECCV 2020; the published SADCL's "v2").

    With F = D / 2, rows i = 1..h, columns j = 1..w and :math:`t_k = 10000^{2 \lfloor k/2
    \rfloor / F}`: channel k < F is the sine (even k) or cosine (odd k) of
    :math:`2 \pi i / ((h + 10^{-6})\, t_k)`; the last F channels are the same over columns.

    Args:
        height (int): h, in feature cells.
        width (int): w, in feature cells.
        embed_dims (int): D, even.
        device (torch.device | str): Defaults to 'cpu'.

    Returns:
        Tensor: (D, h, w), float32.

    Raises:
        ValueError: If D is odd.

    Example:
        >>> from mlic.models import sine_position_encoding
        >>> sine_position_encoding(height=7, width=7, embed_dims=16).shape
        torch.Size([16, 7, 7])
    """
    if embed_dims % 2:
        raise ValueError(f'embed_dims must be even, got {embed_dims}')
    half = embed_dims // 2
    channel = torch.arange(half, dtype=torch.float32, device=device)
    period = 10000 ** (2 * torch.div(channel, 2, rounding_mode='floor') / half)  # (F,)

    def along(size: int) -> Tensor:
        position = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        position = position / (size + 1e-6) * 2 * math.pi
        angle = position / period[:, None]  # (F, size)
        return torch.where(channel[:, None] % 2 == 0, angle.sin(), angle.cos())

    rows = along(height)[:, :, None].expand(half, height, width)
    columns = along(width)[:, None, :].expand(half, height, width)
    return torch.cat([rows, columns])
