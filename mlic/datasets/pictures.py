"""The image of a sample as its user knows it. H x W pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmpretrain.structures import DataSample
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mlic.image_reader import read_image

LOADERS = ('LoadImageFromFile', 'LoadImageStrict')  # a pipeline without them starts from pixels


def seen_image(inputs: Tensor, size: tuple[int, int] | None = None) -> np.ndarray:
    """What a pipeline yields, (3, H, W), uint8, BGR, as a picture (H, W, 3), RGB.

    Args:
        inputs (Tensor): As above.
        size (tuple[int, int], optional): Height and width with the preprocessor's padding.
            Defaults to None: no padding.

    Raises:
        ValueError: If it is not uint8.
    """
    if inputs.dtype != torch.uint8:
        raise ValueError(f'the test pipeline must yield uint8 images, got {inputs.dtype}')
    height, width = size or inputs.shape[-2:]
    inputs = F.pad(inputs, (0, width - inputs.shape[-1], 0, height - inputs.shape[-2]))
    return np.ascontiguousarray(inputs.flip(0).permute(1, 2, 0).expand(-1, -1, 3).cpu().numpy())


def keeps_frame(transforms: Sequence) -> bool:
    """Whether the transforms of a pipeline keep the whole image and nothing else, in any shape."""
    for transform in transforms:
        name = type(transform).__name__
        parts = getattr(transform, 'subroutines', None) or getattr(transform, 'transforms', ())
        if 'Crop' in name or 'Pad' in name or not keeps_frame(parts):
            return False
    return True


def image_to_draw(
    sample: DataSample, transforms: Sequence, source: str | np.ndarray | None = None
) -> np.ndarray:
    """The image in full size and in its own proportions, (H, W, 3), uint8, RGB.

    Attention lies on what the model sees: where the pipeline or the preprocessor cuts off or adds
    a border, that is the picture of a sample with ``attention``.

    Args:
        sample (DataSample): With ``view`` of :func:`seen_image`, if it has ``attention`` or its
            data set makes the image itself.
        transforms (Sequence): Of the test pipeline.
        source (str | np.ndarray, optional): File, address, or (H, W, 3), uint8, BGR. Defaults to
            None: the sample's ``img_path``.
    """
    if 'attention' in sample:
        seen_shape = sample.view.shape[:2]
        is_padded = tuple(sample.get('img_shape') or seen_shape) != seen_shape
        if is_padded or not keeps_frame(transforms):
            return sample.view
    if source is None and any(type(transform).__name__ in LOADERS for transform in transforms):
        source = sample.img_path
    if source is not None:
        return (source if isinstance(source, np.ndarray) else read_image(source))[..., ::-1]
    height, width = sample.get('ori_shape') or sample.view.shape[:2]
    if not keeps_frame(transforms) or (height, width) == sample.view.shape[:2]:
        return sample.view
    return np.asarray(Image.fromarray(sample.view).resize((width, height), Image.BICUBIC))


def image_name(sample: DataSample) -> str:
    """The name of an image's file, or 'image 7' where the data set makes its images."""
    name = Path(sample.get('img_path') or '').name
    return name if Path(name).suffix else f'image {sample.get("sample_idx", 0)}'
