"""A training set made worse: to try a method on fewer images, on wrong or on unknown labels."""

from functools import cached_property

import numpy as np
from mmpretrain.registry import DATASETS

from .relabelled import Relabelled


@DATASETS.register_module()
class DegradedData(Relabelled):
    """Another data set with fewer images, some wrong labels and some unknown ones.

    What is drawn depends on ``draw_seed`` and an image's place in the data set alone: methods,
    epochs and readers of the labels see the same. A smaller share of images is a part of a larger
    one, and what a smaller share exchanges or hides a larger one does, too. ``tools/compare.py``
    gives each run whose config has ``draw_seed`` the run's seed.

    - ``images``: that share of the images stays, drawn by lot, so that each class keeps about that
      share of its own.
    - ``replaced``: each positive label is, with that probability, exchanged for a class that the
      image does not have, drawn in proportion to the number of images that have it. An image keeps
      its number of labels, every class loses about that share of its own, and of all labels that
      share is wrong. A class in many images is given back less than it loses, as an image takes
      none that it has: fewer of its labels are wrong, and more of a rare class's, which gains
      images. Of 0.3: 10 % in a tag of 78 % of the images, up to 53 % in tags of a few; 22 to 40 %
      where no class has more than 22 % of them. An image with hardly another class keeps some.
    - ``hidden``: each (image, class) entry of what then results is hidden with that probability, a
      positive label as a negative one: it goes from ``gt_label`` to ``gt_label_unknown``.

    Args:
        of (str): Type of the data set.
        images (float): Share of the images, above 0 and up to 1. Defaults to 1.
        replaced (float): Probability that a positive label is exchanged. Defaults to 0.
        hidden (float): Probability that a label is hidden. Defaults to 0.
        draw_seed (int): Seed of all draws. Defaults to 0.
        pipeline (Sequence): Transforms. Defaults to ().
        **source: More arguments of the data set.

    Raises:
        ValueError: If a share is out of range or leaves no image, or the data set names no classes.

    Example:
        >>> from mlic.datasets import DegradedData
        >>> scenes = DegradedData('DigitScenes', images=0.5, replaced=0.3, num_images=8)
        >>> len(scenes), scenes.get_data_info(0)['gt_label']
        (4, [0, 5, 6, 9])
    """

    def __init__(
        self,
        of: str,
        images: float = 1.0,
        replaced: float = 0.0,
        hidden: float = 0.0,
        draw_seed: int = 0,
        pipeline=(),
        **source,
    ) -> None:
        for name, share in (('replaced', replaced), ('hidden', hidden)):
            if not 0 <= share <= 1:
                raise ValueError(f'{name} must lie between 0 and 1, got {share}')
        super().__init__(of, pipeline, **source)
        if self.CLASSES is None:
            kind = type(self).__name__
            raise ValueError(f'{kind} needs a data set with classes, and {of} names none')
        self.num_classes = len(self.CLASSES)
        self.images, self.draw_seed = images, draw_seed
        self.replaced, self.hidden = replaced, hidden
        if images != 1 and not 0 < round(images * len(self.source)) <= len(self.source):
            raise ValueError(
                f'images must be a share above 0 and up to 1 that leaves an image, got {images} of '
                f'{len(self.source)}'
            )
        infos = map(self.source.get_data_info, range(len(self.source))) if replaced else ()
        labels = [label for info in infos for label in info['gt_label']]
        self.frequency = np.bincount(labels, minlength=self.num_classes)

    @cached_property
    def kept(self) -> list[int]:
        """Which images are left."""
        total = len(self.source)
        order = np.random.default_rng([self.draw_seed, total]).permutation(total)
        return sorted(order[: round(self.images * total)].tolist())

    def __len__(self) -> int:
        return len(self.kept)

    def get_data_info(self, idx: int) -> dict:
        """What is known of an image before the pipeline."""
        return super().get_data_info(self.kept[idx])

    def __getitem__(self, idx: int) -> dict:
        """The image after the pipeline."""
        return super().__getitem__(self.kept[idx])

    def _hide(self, info: dict, idx: int) -> dict:
        """Exchange labels of an image, then move the hidden ones to those that are unknown."""
        labels = self._exchange(info, idx) if self.replaced else info['gt_label']
        draws = np.random.default_rng([self.draw_seed, idx]).random(self.num_classes)
        hidden = np.flatnonzero(draws < self.hidden).tolist()
        unknown = sorted({*hidden, *info.get('gt_label_unknown', ())})
        labels = [label for label in labels if label not in hidden]
        return {**info, 'gt_label': labels, 'gt_label_unknown': unknown}

    def _exchange(self, info: dict, idx: int) -> list[int]:
        """The labels of an image, some of them wrong."""
        rng = np.random.default_rng([self.draw_seed, idx, 1])
        draws, waits = rng.random(self.num_classes), rng.exponential(size=self.num_classes)
        labels = sorted(info['gt_label'], key=draws.__getitem__)
        taken = {*labels, *info.get('gt_label_unknown', ())}
        # in an order in which a class comes the sooner, the more images have it
        order = np.argsort(waits / np.maximum(self.frequency, 1e-9)).tolist()
        others = [c for c in order if self.frequency[c] and c not in taken]
        count = min(int((draws[labels] < self.replaced).sum()), len(others))
        return sorted([*labels[count:], *others[:count]])

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({len(self)} images, replaced={self.replaced}, '
            f'hidden={self.hidden}, draw_seed={self.draw_seed}, {self.source})'
        )


@DATASETS.register_module()
class HideLabels(DegradedData):
    """A data set in which a share of the labels is unknown: :class:`DegradedData`'s ``hidden``.

    In a config it takes two keys more than the data set itself: ``dataset=dict(type='HideLabels',
    of='MultiLabelDataset', share=0.3)``, merged into the base's.

    Args:
        of (str): Type of the data set.
        share (float): Probability that an entry is hidden, from 0 to 1.
        hide_seed (int): Seed of the choice. Defaults to 0.
        pipeline (Sequence): Transforms. Defaults to ().
        **source: More arguments of the data set.

    Raises:
        ValueError: If the share is not a probability, or the data set names no classes.

    Example:
        >>> from mlic.datasets import HideLabels
        >>> scenes = HideLabels('DigitScenes', share=0.3, num_images=4)
        >>> info = scenes.get_data_info(0)
        >>> info['gt_label'], info['gt_label_unknown']
        ([0, 4, 7, 9], [1, 2, 3])
    """

    def __init__(self, of: str, share: float, hide_seed: int = 0, pipeline=(), **source) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f'share must lie between 0 and 1, got {share}')
        super().__init__(of, hidden=share, draw_seed=hide_seed, pipeline=pipeline, **source)
