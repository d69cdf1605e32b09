"""Does a map of a class point at its pixels?

Shapes in this module: H x W pixels.
"""

import math

import cv2
import numpy as np

LEVELS = 100  # thresholds of the IoU: 1 to 100 percent of a map's peak
MEASURES = ('inside', 'near', 'energy', 'iou', 'iou_own')


def measure_map(
    heat: np.ndarray, mask: np.ndarray, known: np.ndarray, tolerance: float
) -> dict[str, float | np.ndarray]:
    r"""Compare one map with one mask. Pixels that are not known have no part in anything.

    - ``inside``: 1 if the highest pixel is in the mask, else 0. Of several that are equally high
      it is the share that is, so that a flat map has what a blind guess has.
    - ``near``: the same with a mask that is ``tolerance`` pixels wider on each side: the pointing
      game of Zhang et al. (ECCV 2016), who take 15.
    - ``energy``: :math:`\sum_{mask} \max(h, 0) / \sum \max(h, 0)`, 0 where nothing is positive.
    - ``area`` and ``area_near``: the same two of any pixel, each as likely. The former is the share
      of the image that is mask, and so the energy and the IoU of a flat map.
    - ``centre`` and ``centre_near``: the same two of the middle of the image; NaN if it is not
      known.
    - ``curve``: (100,), intersection over union of the mask and the pixels that have at least 1,
      2, … 100 % of the highest value, 0 where nothing is positive; ``iou_own`` is the best of them.

    Args:
        heat (np.ndarray): (H, W).
        mask (np.ndarray): (H, W) bool, with at least one known pixel.
        known (np.ndarray): (H, W) bool.
        tolerance (float): In pixels of the mask.
    """
    mask = mask & known
    near = _widen(mask, tolerance)
    middle = tuple(length // 2 for length in mask.shape)
    top = known & (heat == heat[known].max())
    positive = np.where(known, heat, 0).clip(min=0)
    total, peak = positive.sum(), positive.max()
    curve = np.zeros(LEVELS)
    if total > 0:
        level = (positive / peak * LEVELS).astype(np.uint8)
        # pixels of at least each level: all, and those of the mask
        found, hit = (
            np.bincount(level[chosen], minlength=LEVELS + 1)[::-1].cumsum()[::-1][1:]
            for chosen in (known, mask)
        )
        curve = hit / (found + mask.sum() - hit)
    return dict(
        inside=float(mask[top].mean()),
        near=float(near[top].mean()),
        area=float(mask[known].mean()),
        area_near=float(near[known].mean()),
        centre=float(mask[middle]) if known[middle] else math.nan,
        centre_near=float(near[middle]) if known[middle] else math.nan,
        energy=float(positive[mask].sum() / total) if total > 0 else 0.0,
        iou_own=curve.max(),
        curve=curve,
    )


def _widen(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """The pixels (H, W) that are at most so far from the mask."""
    margin = math.ceil(tolerance)
    # farther from its box than that, there are none
    box = tuple(
        slice(max(places[0] - margin, 0), places[-1] + margin + 1)
        for places in (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    )
    outside = (~mask[box]).astype(np.uint8)
    near = np.zeros_like(mask)
    near[box] = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= tolerance
    return near
