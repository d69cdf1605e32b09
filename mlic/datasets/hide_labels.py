"""Labels that are made unknown, to try a training on data of which less is known."""

import numpy as np
from mmpretrain.registry import DATASETS

from .relabelled import Relabelled


@DATASETS.register_module()
class HideLabels(Relabelled):
    """Another data set, a share of whose labels nobody has looked at.

    Each (image, class) entry is hidden with the same probability, a positive label as a negative
    one: it goes from ``gt_label`` to ``gt_label_unknown``. What is hidden depends on ``hide_seed``,
    ``share`` and the image's place in the data set, so all epochs and all readers of the labels see
    the same, and what a smaller share hides a larger one hides, too. In a config it takes two keys
    more than the data set itself: ``dataset=dict(type='HideLabels', of='MultiLabelDataset',
    share=0.3)``, merged into the base's.

    Args:
        of (str): Type of the data set.
        share (float): Probability of an entry to be hidden, from 0 to 1.
        hide_seed (int): Of the choice. Defaults to 0.
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
        super().__init__(of, pipeline, **source)
        if self.CLASSES is None:
            raise ValueError(f'HideLabels needs a data set with classes, and {of} names none')
        self.num_classes = len(self.CLASSES)
        self.share = share
        self.hide_seed = hide_seed

    def _hide(self, info: dict, idx: int) -> dict:
        """Move the hidden classes of an image from its labels to the unknown ones."""
        draws = np.random.default_rng([self.hide_seed, idx]).random(self.num_classes)
        hidden = np.flatnonzero(draws < self.share).tolist()
        unknown = sorted({*hidden, *info.get('gt_label_unknown', ())})
        labels = [label for label in info['gt_label'] if label not in hidden]
        return {**info, 'gt_label': labels, 'gt_label_unknown': unknown}

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(share={self.share}, hide_seed={self.hide_seed}, {self.source})'
        )
