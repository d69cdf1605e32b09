"""The training pipeline next to plain OpenCV, one core."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from .measure import Case

IMAGES = 20


def cases(config: str) -> Iterator[Case]:
    """Stage 2: load, resize to 512, crop 448, flip, pack; a 640 x 480 JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'photo.jpg'))
        _write_photo(path)
        yield from _cases(Config.fromfile(config), path)


def _write_photo(path: str) -> None:
    """A JPEG of 640 x 480."""
    rng = np.random.default_rng(0)
    # smooth noise: a photograph's size after compression, not that of white noise
    small = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    photo = cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 6, photo.shape)
    cv2.imwrite(path, np.clip(photo + noise, 0, 255).astype(np.uint8))


def _cases(cfg: Config, path: str) -> Iterator[Case]:
    """Of either stage's pipeline, on the JPEG."""
    stages = dict(stage2=Compose(cfg.train_pipeline), stage1=Compose(cfg.stage1_pipeline))

    def plain():
        for index in range(IMAGES):
            image = cv2.resize(cv2.imread(path), (512, 512))
            x, y = (index * 7) % 64, (index * 11) % 64
            image = image[y : y + 448, x : x + 448]
            if index % 2:
                image = cv2.flip(image, 1)
            np.ascontiguousarray(image.transpose(2, 0, 1))

    for name, limit in (('stage2', 1 / 0.85), ('stage1', None)):

        def run(compose=stages[name]):
            for _ in range(IMAGES):
                compose(dict(img_path=path, gt_label=[1, 2]))

        yield Case(
            f'pipeline {name}, {IMAGES} JPEGs of 640 x 480',
            run,
            against=plain,
            against_name='cv2: load, resize, crop, flip',
            against_limit=limit,
            measure_memory=False,
        )
