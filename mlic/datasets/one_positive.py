"""A training set with one known label an image: to try methods for single positive labels."""

import numpy as np
from mmpretrain.registry import DATASETS

from .relabelled import Relabelled


@DATASETS.register_module()
class OnePositive(Relabelled):
    """A data set of whose labels one present one is known for each image, all others unknown.

    The setting of Cole et al., *Multi-Label Learning from Single Positive Labels* (CVPR 2021). The
    label is drawn by lot, once: it depends on ``draw_seed`` and an image's place in the data set
    alone, so that all epochs and methods see the same. ``tools/compare.py`` gives each run whose
    config has ``draw_seed`` the run's seed. An image without a label has none that is known.

    No absence is known: use a loss that makes something of unknown labels
    (:class:`mlic.models.WeakNegativeLoss`, :class:`mlic.models.ExpectedPositiveLoss`), or
    ``data_preprocessor.unknown='negative'``.

    Args:
        of (str): Type of the data set.
        draw_seed (int): Seed of the draws. Defaults to 0.
        pipeline (Sequence): Transforms. Defaults to ().
        **source: More arguments of the data set.

    Raises:
        ValueError: If the data set names no classes.

    Example:
        >>> from mlic.datasets import OnePositive
        >>> info = OnePositive('DigitScenes', num_images=4).get_data_info(0)
        >>> info['gt_label'], info['gt_label_unknown']
        ([7], [0, 1, 2, 3, 4, 5, 6, 8, 9])
    """

    def __init__(self, of: str, draw_seed: int = 0, pipeline=(), **source) -> None:
        super().__init__(of, pipeline, **source)
        if self.CLASSES is None:
            raise ValueError(f'OnePositive needs a data set with classes, and {of} names none')
        self.draw_seed = draw_seed

    def _hide(self, info: dict, idx: int) -> dict:
        """One label of an image, drawn by lot."""
        labels = info['gt_label']
        draw = np.random.default_rng([self.draw_seed, idx]).random()
        known = [labels[int(draw * len(labels))]] if len(labels) else []
        unknown = [label for label in range(len(self.CLASSES)) if label not in known]
        return {**info, 'gt_label': known, 'gt_label_unknown': unknown}

    def __repr__(self) -> str:
        return f'OnePositive({len(self)} images, draw_seed={self.draw_seed}, {self.source})'
