"""Where a class is in an image, as a box, without asking the device.

Shapes in this module: B images, R regions of each, H x W pixels, M profiles of n numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mlic.dtypes import raised

ROUNDING = 8  # of interpolation, in units in the last place


def scaled(profiles: Tensor) -> tuple[Tensor, Tensor]:
    """Profiles (M, n) between 0 and 1, by the smallest and largest value of each, and what rounding
    can make of them, (M, 1). A profile that is constant, but for rounding, becomes 1."""
    low, high = profiles.aminmax(dim=1, keepdim=True)
    span, rounding = high - low, ROUNDING * torch.finfo(profiles.dtype).eps * high.abs()
    constant = span <= rounding
    span = span.masked_fill(constant, 1)
    return ((profiles - low) / span).masked_fill(constant, 1), rounding / span


def intervals(
    profiles: Tensor, threshold: float = 0.5, rounding: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """The part of each profile where the largest value is, MCAR's ``obj_loc``.

    A profile is cut where it goes past the threshold from one number to the next; a number that
    equals it hides a cut (interpolated maps often have one). A part starts with the number before
    the cut. Of the parts between the cuts the one with the largest number is
    taken, of equals the longer, then the first, the last or the earlier of the others. Without a
    cut it is the middle three quarters. A part of at most an eighth of the profile grows: on both
    sides by half of what is missing, rounded up, less one in front; to the whole first eighth if
    it starts in the first half of what is missing; to the last, less one number, if it ends there.

    The released code raises where a part is empty after that, which takes n <= 8; here it is one
    number.

    Args:
        profiles (Tensor): (M, n).
        threshold (float): Defaults to 0.5.
        rounding (Tensor | float): A number that is so near to the threshold equals it, (M, 1).
            Defaults to 0.

    Returns:
        tuple[Tensor]: Begin and end (M,), int64, 0 <= begin < end <= n.
    """
    rows, n = profiles.shape
    size, three_quarters = -(-n // 8), -(-7 * n // 8)
    above = profiles - threshold
    side = above.sign().masked_fill(above.abs() <= rounding, 0)
    cut = F.pad(side.diff(dim=1).abs() == 2, (0, 1))
    part = cut.cumsum(1)  # (M, n): of each number
    largest = profiles.new_full((rows, n), -torch.inf).scatter_reduce(1, part, profiles, 'amax')
    length = torch.zeros_like(part).scatter_add(1, part, torch.ones_like(part))
    chosen = largest == largest.amax(1, keepdim=True)
    chosen &= length == length.where(chosen, -1).amax(1, keepdim=True)
    order = torch.arange(1, n + 1, device=part.device).expand(rows, -1)
    order = order.scatter(1, part[:, -1:], 0)  # the last comes before all but the first
    order[:, 0] = -1
    chosen = order.where(chosen, n + 1).argmin(1, keepdim=True)
    begin = (part < chosen).sum(1)
    end = begin + (part == chosen).sum(1)

    small, missing = end - begin <= size, size - (end - begin)
    half = (missing + 1) // 2
    both = small & (begin > half) & (n - end > missing)
    begin, end = torch.where(both, begin - half + 1, begin), torch.where(both, end + half, end)
    front = small & (begin < half)
    begin, end = begin.masked_fill(front, 0), end.masked_fill(front, size)
    back = small & (n - end < half)
    begin, end = begin.masked_fill(back, n - size + 1), end.masked_fill(back, n)
    whole = ~cut.any(1)
    begin, end = begin.masked_fill(whole, size), end.masked_fill(whole, three_quarters)
    return torch.minimum(begin, end - 1), end


def boxes_of(activation: Tensor, threshold: float = 0.5) -> Tensor:
    """Boxes (B, R, 4), int64, x1, x2, y1, y2, of maps (B, R, H, W): see :func:`intervals`."""
    sides = []
    for dim in (2, 3):
        profiles, rounding = scaled(activation.amax(dim).flatten(0, 1))
        sides += intervals(profiles, threshold, rounding)
    boxes = torch.stack(sides, dim=1)
    return boxes.unflatten(0, activation.shape[:2])


def crops_of(images: Tensor, boxes: Tensor) -> Tensor:
    """What is in the boxes, at the size of the images.

    Args:
        images (Tensor): (B, K, H, W).
        boxes (Tensor): (B, R, 4).

    Returns:
        Tensor: (B * R, K, H, W), bilinear, corner on corner.
    """
    dtype = raised(images.dtype)

    def places(begin: Tensor, end: Tensor, n: int) -> Tensor:
        """(B, R, n), from -1 to 1 over the image."""
        steps = torch.linspace(0, 1, n, dtype=dtype, device=images.device)
        pixels = begin[..., None] + (end - 1 - begin)[..., None] * steps
        return pixels * (2 / max(n - 1, 1)) - 1

    height, width = images.shape[-2:]
    x1, x2, y1, y2 = boxes.unbind(-1)
    x, y = places(x1, x2, width), places(y1, y2, height)
    shape = (*boxes.shape[:2], height, width)
    grid = torch.stack([x[:, :, None].expand(shape), y[..., None].expand(shape)], dim=-1)
    crops = F.grid_sample(
        images.to(dtype), grid.flatten(1, 2), padding_mode='border', align_corners=True
    )  # (B, K, R * H, W)
    crops = crops.unflatten(2, (-1, height)).transpose(1, 2).flatten(0, 1)
    return crops.to(images.dtype)
