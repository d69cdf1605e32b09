"""Soft targets, where a loss needs to know which classes an image has."""

from torch import Tensor


def is_present(target: Tensor) -> Tensor:
    """Which classes are in which image, bool: those with a target of at least one half.

    Of two images that Mixup or CutMix blends, the classes of the larger part are present (of
    equal parts, those of both), and smoothed labels stay what they were.

    Args:
        target (Tensor): Of any shape, multi-hot or between 0 and 1.
    """
    return target >= 0.5
