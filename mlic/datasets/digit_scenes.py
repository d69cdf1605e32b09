"""Scenes of handwritten digits, composed on the fly."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

# N digits in a scene; a layout is an int array (N, 4) of rows (scan, x, y, side), in pixels.

# Scans of the three pools, by their place in scikit-learn's file. Neighbours in the file are often
# by the same writer: consecutive pools share less handwriting than shuffled ones.
POOLS = dict(train=(0, 1078), val=(1078, 1348), test=(1348, 1797))
MIN_SIDE, MAX_SIDE = 24 / 128, 56 / 128  # of a digit, as a part of the canvas
MAX_OVERLAP = 0.1  # of the smaller of two digits
MIN_CONTRAST = 75  # grey levels between a digit and the mean of what lies under it
BGR_TO_GREY = np.array([0.114, 0.587, 0.299], np.float32)


@lru_cache(maxsize=1)
def load_scans() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits: scans (1797, 8, 8) in 0..1, and their classes (1797,)."""
    from sklearn.datasets import load_digits  # an import of one second, for this data set only

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(int)


@DATASETS.register_module()
class DigitScenes(MultiLabelDataset):
    """Scenes composed from scanned handwritten digits: a data set that needs no download.

    A scene shows 1 to 4 digits of several sizes in random ink on a textured ground, among
    strokes, blobs and scrambled digits that carry no label. The digits are the 1,797 real 8x8
    scans that come with scikit-learn, in three pools, so that no scan is in two splits. Scene
    ``i`` of a split depends on ``(seed, split, i)`` alone: the same image in every epoch, worker
    and process. What is shown is drawn when the data set is initialised, the image only when it
    is asked for.

    Items carry ``img`` (uint8, (H, W, 3), BGR), so a pipeline starts without
    ``LoadImageStrict``; ``img_path`` is a readable id of the picture, such as
    ``digit_scenes/train_128px_seed0/000123``; ``digits`` (N, 4) are rows of scan, x, y and side.

    Args:
        split (str): 'train', 'val' or 'test'. Defaults to 'train'.
        num_images (int): Number of scenes. Defaults to 1000.
        image_size (int): Side of the canvas in pixels, at least 32. Defaults to 128.
        seed (int): Seed of the scenes; the pools do not depend on it. Defaults to 0.
        **kwargs: Of mmpretrain's ``BaseDataset``, such as ``pipeline`` and ``indices``.

    Raises:
        ValueError: If ``split`` is unknown, or ``num_images`` or ``image_size`` is too small.

    Example:
        >>> from mlic.datasets import DigitScenes
        >>> scenes = DigitScenes(split='train', num_images=4)
        >>> scene = scenes[0]
        >>> scene['img'].shape
        (128, 128, 3)
        >>> [scenes.CLASSES[label] for label in scene['gt_label']]
        ['zero', 'four', 'seven', 'nine']
    """

    METAINFO = {
        'classes': ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
    }

    def __init__(
        self,
        split: str = 'train',
        num_images: int = 1000,
        image_size: int = 128,
        seed: int = 0,
        **kwargs,
    ) -> None:
        if split not in POOLS:
            raise ValueError(f'split must be one of {tuple(POOLS)}, but got {split!r}')
        if num_images < 1 or image_size < 32:
            raise ValueError(
                'num_images must be at least 1 and image_size at least 32, '
                f'but got {num_images} and {image_size}'
            )
        self.split = split
        self.num_images = num_images
        self.image_size = image_size
        self.seed = seed
        super().__init__(ann_file='', **kwargs)

    def _generator(self, scene: int, purpose: int) -> np.random.Generator:
        """The random numbers of one scene; purpose 0 is its layout, 1 its rendering."""
        return np.random.default_rng([self.seed, list(POOLS).index(self.split), scene, purpose])

    def load_data_list(self) -> list[dict]:
        """Draw which digits are where in every scene."""
        classes = load_scans()[1]
        data_list, kind = [], f'{self.split}_{self.image_size}px_seed{self.seed}'
        for scene in range(self.num_images):
            digits = draw_layout(self._generator(scene, 0), POOLS[self.split], self.image_size)
            data_list.append(
                dict(
                    img_path=f'digit_scenes/{kind}/{scene:06d}',
                    scene=scene,
                    digits=digits,
                    gt_label=np.unique(classes[digits[:, 0]]).tolist(),
                )
            )
        return data_list

    def prepare_data(self, idx: int) -> dict:
        """Render scene ``idx`` and send it through the pipeline."""
        results = self.get_data_info(idx)
        generator = self._generator(results['scene'], 1)
        results['img'] = render_scene(
            generator, results['digits'], POOLS[self.split], self.image_size
        )
        results['img_shape'] = results['ori_shape'] = (self.image_size, self.image_size)
        return self.pipeline(results)

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return [f'Split: \t{self.split}', f'Side of the images: \t{self.image_size}']


def draw_layout(generator: np.random.Generator, pool: Sequence[int], size: int) -> np.ndarray:
    """Draw 1 to 4 digits that overlap little: rows (scan, x, y, side) (N, 4)."""
    placed: list[tuple[int, int, int, int]] = []
    sides = generator.uniform(MIN_SIDE, MAX_SIDE, generator.integers(1, 5)) * size
    for side in np.sort(sides.round().astype(int))[::-1]:  # the large ones first: more room
        x, y, _ = _place(generator, placed, side, size)
        placed.append((generator.integers(*pool), x, y, side))
    return np.array(placed, dtype=int)


def _place(
    generator: np.random.Generator, placed: Sequence[Sequence[int]], side: int, size: int
) -> tuple[int, int, float]:
    """The best of 20 draws for one more square: x, y and its worst overlap with the others."""
    best = (0, 0, np.inf)
    for x, y in generator.integers(0, size - side + 1, (20, 2)):
        worst = max((_overlap((x, y, side), other[1:]) for other in placed), default=0.0)
        if worst < best[2]:
            best = (x, y, worst)
        if worst <= MAX_OVERLAP:
            break
    return best


def _overlap(box: Sequence[int], other: Sequence[int]) -> float:
    """Shared area of two squares (x, y, side), as a part of the smaller one."""
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[2], other[1] + other[2]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / min(box[2], other[2]) ** 2


def render_scene(
    generator: np.random.Generator, digits: np.ndarray, pool: Sequence[int], size: int
) -> np.ndarray:
    """Paint a scene (size, size, 3), uint8, BGR: ground, distractors, digits, grain."""
    scans = load_scans()[0]
    grain = generator.integers(-9, 10, (size, size, 3), dtype=np.int8)
    canvas = _ground(generator, size)
    _paint_strokes(generator, canvas)
    for _ in range(generator.integers(0, 3)):
        scrambled = _scramble(generator, scans[generator.integers(*pool)])
        side = int(generator.uniform(MIN_SIDE, 0.7 * MAX_SIDE) * size)
        x, y, overlap = _place(generator, digits, side, size)
        if overlap <= MAX_OVERLAP:  # next to the digits: under one it makes both unreadable
            _paint_ink(generator, canvas[y : y + side, x : x + side], scrambled)
    for scan, x, y, side in digits:
        _paint_ink(generator, canvas[y : y + side, x : x + side], scans[scan])
    return np.clip(canvas + grain, 0, 255).astype(np.uint8)


def _ground(generator: np.random.Generator, size: int) -> np.ndarray:
    """A colour with coarse and fine texture: (size, size, 3), float32."""
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = generator.uniform(45, 210) + generator.uniform(-45, 45, 3)
    for cells, strength in ((3, 35), (9, 18), (32, 8)):
        waves = generator.uniform(-strength, strength, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(waves, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas, 0, 255, out=canvas)


def _paint_strokes(generator: np.random.Generator, canvas: np.ndarray) -> None:
    """Paint blobs, and long thin curves that no digit looks like, onto the ground."""
    size = len(canvas)
    for _ in range(generator.integers(1, 4)):
        blob = canvas.copy()
        centre = generator.integers(0, size, 2).tolist()
        axes = (generator.uniform(0.05, 0.22, 2) * size).astype(int).tolist()
        colour = generator.uniform(20, 235, 3).tolist()
        cv2.ellipse(blob, centre, axes, generator.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        weight = generator.uniform(0.15, 0.4)
        cv2.addWeighted(blob, weight, canvas, 1 - weight, 0, dst=canvas)
    for _ in range(generator.integers(1, 4)):
        start, bend, end = generator.uniform(-0.2, 1.2, (3, 1, 2)) * size
        t = np.linspace(0, 1, 24)[:, None, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        colour = generator.uniform(20, 235, 3).tolist()
        points = curve.round().astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, max(size // 128, 1), cv2.LINE_AA)


def _scramble(generator: np.random.Generator, scan: np.ndarray) -> np.ndarray:
    """Shuffle the sixteen 2x2 tiles of a scan (8, 8): the ink of a digit, the shape of none."""
    tiles = scan.reshape(4, 2, 4, 2).swapaxes(1, 2).reshape(16, 2, 2)
    tiles = generator.permutation(tiles)
    return tiles.reshape(4, 4, 2, 2).swapaxes(1, 2).reshape(8, 8)


def _paint_ink(generator: np.random.Generator, patch: np.ndarray, scan: np.ndarray) -> None:
    """Paint a scan, enlarged and tilted, into a square patch of the canvas, in place."""
    side = len(patch)
    angle, shear = np.deg2rad(generator.uniform(-12, 12)), generator.uniform(-0.15, 0.15)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = 0.92 * side / 8 * rotation @ np.array([[1, shear], [0, 1]])
    shift = (side - 1) / 2 - matrix @ (3.5, 3.5)
    ink = cv2.warpAffine(
        scan, np.column_stack([matrix, shift]), (side, side), flags=cv2.INTER_CUBIC
    )
    low = generator.uniform(0.3, 0.5)  # the blur of the scan becomes a thick or a thin edge
    high = low + generator.uniform(0.2, 0.35)
    ink = np.clip((ink - low) / (high - low), 0, 1) * generator.uniform(0.85, 1)
    grey = patch.mean((0, 1)) @ BGR_TO_GREY
    colours = generator.uniform(0, 255, (24, 3)).astype(np.float32)
    contrast = np.abs(colours @ BGR_TO_GREY - grey)
    colour = colours[np.argmax(np.minimum(contrast, MIN_CONTRAST))]  # the first with enough
    patch += ink[..., None] * (colour - patch)
