"""What a training set says of its classes: their names, and how often they occur together.

Shapes in this module: C classes.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np


class ClassInfo:
    """Names and counts of the classes of a data set, from its known labels.

    A module of a model that needs them has a method ``learn_classes(info)``, which returns lines
    for the log: ``ClassInfoHook`` calls it before the first iteration. What it takes from them it
    keeps in buffers, so that a checkpoint predicts without the training set. ``num_images`` is the
    number of all images, to which ``counts`` may be compared.

    Args:
        dataset: With ``get_data_info(index)``, whose ``gt_label`` has the indices of an image's
            classes and ``gt_label_unknown``, if it is there, those that nobody annotated.
        names (Sequence[str]): C names.
    """

    def __init__(self, dataset, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.num_images = len(dataset)
        self._dataset = dataset

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Two matrices (C, C) of int64: images with both classes, and images with the first in
        which the second is known. The diagonals are the images with a class."""
        number = len(self.names)
        together, looked = np.zeros((2, number, number), dtype=np.int64)
        for index in range(len(self._dataset)):
            info = self._dataset.get_data_info(index)
            unknown = set(info.get('gt_label_unknown', ()))
            present = [label for label in sorted(set(info['gt_label'])) if label not in unknown]
            together[np.ix_(present, present)] += 1
            looked[present] += 1
            looked[np.ix_(present, sorted(unknown))] -= 1
        return together, looked

    @cached_property
    def conditional(self) -> np.ndarray:
        """(C, C) float64: how many of the images with class i have class j, too.

        The diagonal is 1; the row of a class without an image is 0.
        """
        together, looked = self.counts
        return together / np.maximum(looked, 1)

    @cached_property
    def empty(self) -> list[str]:
        """Names of the classes that no image has."""
        present = self.counts[0].diagonal() > 0
        return [name for name, some in zip(self.names, present) if not some]
