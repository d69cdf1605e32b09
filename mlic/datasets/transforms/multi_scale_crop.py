"""The crop of SADCL's second stage, and what a pipeline keeps of an image."""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MultiScaleCrop(BaseTransform):
    """Crop one of a fixed set of boxes and resize it to a square.

    From `Temporal Segment Networks <https://arxiv.org/abs/1608.00859>`_; ADD-GCN, Query2Label
    and SADCL train with it. With ``base = min(width, height)`` the side lengths are
    ``int(base * s)`` for ``s`` in ``scales``; one within 2 px of the target becomes the target.
    A box takes any width and any height whose scales are at most ``max_distort`` places apart
    (19 of 25 pairs by default), and one of 13 positions on a 5 x 5 grid over the room that is
    left: corners, centre, edge centres and quarter points. Pair and position are drawn
    uniformly, repeated ones included.

    Unlike the published code it draws from ``np.random``, never leaves the image (a side that
    the 2 px make longer than the image is cut, not padded with black), and resizes with OpenCV;
    with ``backend='pillow'`` (slower) the pixels of a box are the published ones.

    **Required Keys:** ``img`` (uint8, (H, W, 3))

    **Modified Keys:** ``img``, ``img_shape``

    Args:
        scale (int): Side of the output in pixels. Defaults to 448.
        scales (Sequence[float]): Side lengths as parts of the shorter side of the image, in
            (0, 1]. Defaults to (1, 0.875, 0.75, 0.66, 0.5).
        max_distort (int): How many places apart in ``scales`` the width and the height may be.
            Defaults to 2.
        backend (str): 'cv2' or 'pillow'. Defaults to 'cv2'.
        interpolation (str): See ``mmcv.imresize``. Defaults to 'bilinear'.
        canvas (int, optional): Draw the boxes on the image as if it were a square of this side,
            and cut them from the image as it is, rounded to its pixels: takes the place of a
            ``Resize`` before, with one interpolation instead of two. Defaults to None.

    Raises:
        ValueError: If ``scales`` leaves (0, 1] or ``backend`` is unknown.

    Example:
        >>> import numpy as np
        >>> from mlic.datasets import MultiScaleCrop
        >>> crop = MultiScaleCrop(scale=32)
        >>> crop(dict(img=np.zeros((48, 64, 3), np.uint8)))['img'].shape
        (32, 32, 3)
    """

    def __init__(
        self,
        scale: int = 448,
        scales: Sequence[float] = (1, 0.875, 0.75, 0.66, 0.5),
        max_distort: int = 2,
        backend: str = 'cv2',
        interpolation: str = 'bilinear',
        canvas: int | None = None,
    ) -> None:
        if not scales or not all(0 < value <= 1 for value in scales):
            raise ValueError(f'scales must be in (0, 1], but got {tuple(scales)}')
        if backend not in ('cv2', 'pillow'):
            raise ValueError(f"backend must be 'cv2' or 'pillow', but got {backend!r}")
        self.scale = scale
        self.scales = tuple(scales)
        self.max_distort = max_distort
        self.backend = backend
        self.interpolation = interpolation
        self.canvas = canvas

    def crop_sizes(self, width: int, height: int) -> list[tuple[int, int]]:
        """All (crop width, crop height) for an image of this size, repeated ones included."""
        sides = [max(int(min(width, height) * value), 1) for value in self.scales]
        sides = [self.scale if abs(side - self.scale) <= 2 else side for side in sides]
        return [
            (crop_w, crop_h)
            for i, crop_h in enumerate(sides)
            for j, crop_w in enumerate(sides)
            if abs(i - j) <= self.max_distort
        ]

    @staticmethod
    def crop_offsets(width: int, height: int, crop_w: int, crop_h: int) -> list[tuple[int, int]]:
        """The 13 (x, y) of the upper left corner of a crop, repeated ones included."""
        x, y = max(width - crop_w, 0) // 4, max(height - crop_h, 0) // 4
        steps = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]  # corners and centre
        steps += [(0, 2), (4, 2), (2, 4), (2, 0)]  # edge centres
        steps += [(1, 1), (3, 1), (1, 3), (3, 3)]  # quarter points
        return [(i * x, j * y) for i, j in steps]

    def crop(self, img: np.ndarray, box: Sequence[int]) -> np.ndarray:
        """Cut box (crop width, crop height, x, y) out of an image and resize it to the target."""
        crop_w, crop_h, x, y = box
        return mmcv.imresize(
            np.ascontiguousarray(img[y : y + crop_h, x : x + crop_w]),
            (self.scale, self.scale),
            interpolation=self.interpolation,
            backend=self.backend,
        )

    def from_canvas(self, box: Sequence[int], width: int, height: int) -> tuple[int, int, int, int]:
        """A box of the canvas in the whole pixels of an image of this size."""
        crop_w, crop_h, x, y = box
        left, right = (round(edge * width / self.canvas) for edge in (x, x + crop_w))
        top, bottom = (round(edge * height / self.canvas) for edge in (y, y + crop_h))
        return max(right - left, 1), max(bottom - top, 1), left, top

    @cache_randomness
    def _draw_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Draw crop width, crop height, x and y."""
        sizes = self.crop_sizes(width, height)
        crop_w, crop_h = sizes[np.random.randint(len(sizes))]
        offsets = self.crop_offsets(width, height, crop_w, crop_h)
        return (crop_w, crop_h, *offsets[np.random.randint(len(offsets))])

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']`` and update ``img_shape``."""
        height, width = results['img'].shape[:2]
        if self.canvas is None:
            box = self._draw_box(width, height)
        else:
            box = self.from_canvas(self._draw_box(self.canvas, self.canvas), width, height)
        results['img'] = self.crop(results['img'], box)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(scale={self.scale}, scales={self.scales}, '
            f'max_distort={self.max_distort}, backend={self.backend!r}, '
            f'interpolation={self.interpolation!r}, '
            f'canvas={self.canvas})'
        )
