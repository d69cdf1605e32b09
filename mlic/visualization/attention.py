"""Label-wise attention as a picture. Shapes: B maps, h x w attention cells, H x W pixels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def heat_map(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge attention maps (B, h, w), not negative, smoothly to (B, H, W), float32.

    Each is scaled to a peak of 1, unless it is all zero. Zero stays zero, so that an attention
    that is spread over the whole image looks spread.
    """
    enlarged = F.interpolate(
        attention.detach().float()[:, None], size=size, mode='bicubic', align_corners=False
    )[:, 0].clamp(min=0)  # bicubic weights undershoot next to a peak
    peak = enlarged.amax(dim=(1, 2), keepdim=True)
    return enlarged / torch.where(peak > 0, peak, 1)


def overlay_attention(image: np.ndarray, attention: Tensor) -> np.ndarray:
    """Blend a heat map into a grey version of an image: the hotter, the more it covers, up to 65 %.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB, as the picture that is returned.
        attention (Tensor): (h, w), not negative.
    """
    from matplotlib import colormaps

    attention = torch.as_tensor(attention)
    heat = heat_map(attention[None], image.shape[:2])[0].cpu().numpy()  # (H, W)
    grey = image @ np.array([0.299, 0.587, 0.114])  # of RGB, ITU-R BT.601
    alpha = 0.65 * heat[..., None]
    colours = 255 * colormaps['turbo'](0.88 * heat)[..., :3]  # its end is dark: stop at red
    blended = (1 - alpha) * grey[..., None] + alpha * colours
    return blended.round().astype(np.uint8)
