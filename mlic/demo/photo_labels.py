"""What the page of a photo shows: its labels, and where the model looks for each.

The model runs once for a photo; the rest is worked out from its scores and its attention. Shapes
in this module: C classes, h x w attention cells, H x W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from mlic.apis.inferencer import MultiLabelInferencer, decide
from mlic.datasets.pictures import image_to_draw
from mlic.image_reader import ImageReadError, read_image
from mlic.models.attention_maps import is_attentive
from mlic.names import counted
from mlic.visualization.attention import overlay_attention

MAX_SIDE = 960  # px, of the pictures in the page


class LabelledPhoto(NamedTuple):
    """What the model says about a photo, and the pictures that go with it."""

    pred_score: Tensor  # (C,)
    attention: Tensor | None  # (C, h, w), or None of a model that has none
    photo: np.ndarray  # (H, W, 3), uint8, RGB, at most 960 px long
    view: np.ndarray  # what the attention lies on: the photo, or the part that the model sees


def predict_photo(inferencer: MultiLabelInferencer, path: str) -> LabelledPhoto:
    """Run the model on one file.

    Raises:
        ImageReadError: If it cannot be read; its message has the file's name without its folder.
    """
    has_attention = is_attentive(inferencer.model)
    options = dict(attention=has_attention, return_datasamples=True)
    ((_, sample),) = inferencer.stream([path], **options)
    if isinstance(sample, ImageReadError):
        raise ImageReadError(str(sample).replace(path, Path(path).name))
    image = read_image(path, reduce_to=MAX_SIDE)
    photo = _shrink(image[..., ::-1])
    if not has_attention:
        return LabelledPhoto(sample.pred_score, None, photo, photo)
    view = _shrink(image_to_draw(sample, inferencer.pipeline.transforms, image))
    return LabelledPhoto(sample.pred_score, sample.attention, photo, view)


def draw_label(prediction: LabelledPhoto, label: int) -> np.ndarray:
    """Where the model looks for a label: (H, W, 3), uint8, RGB."""
    return overlay_attention(prediction.view, prediction.attention[label])


class Label(NamedTuple):
    """A class and its score for a photo."""

    index: int
    name: str
    score: float  # from 0 to 1
    found: bool  # whether the score reaches the threshold


def list_labels(
    pred_score: Tensor, classes: Sequence[str], thr: float | Sequence[float]
) -> list[Label]:
    """All classes: those that are found first, each part with the highest scores first.

    Found are the classes (C names) whose score in ``pred_score`` (C,) is at least ``thr``, one for
    all or one for each.
    """
    found = set(decide(pred_score, thr, None).tolist())
    scores = pred_score.tolist()
    labels = [Label(k, name, scores[k], k in found) for k, name in enumerate(classes)]
    return sorted(labels, key=lambda label: (not label.found, -label.score))


def count_labels(labels: list[Label]) -> str:
    """A line that says how many of the labels are found."""
    found = sum(label.found for label in labels)
    if not found:
        best = max(labels, key=lambda label: label.score)
        return f'No label; the best is {best.name} {best.score:.0%}.'
    return f'{found} of {counted(len(labels), "label")}.'


def _shrink(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3), at most 960 px long."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(picture)
