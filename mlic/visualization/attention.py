"""Label-wise attention as a picture: where a model looks for each label that it predicts.

Shapes in this module: B images, C classes, h x w attention cells, H x W pixels. Lengths of the
page are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .page import DPI, FONT_SIZE, MARGIN, PLAIN_COLOUR, fit_ends, fit_text, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR = '#1a7f37', '#cf222e', '#9a5b00'

PAGE_WIDTH = 12.0  # what five columns fill; with more of them the panels get smaller
GAP = 0.12
MIN_PANEL, MAX_PANEL = 1.4, 2.25
TITLE_HEIGHT, LINE_HEIGHT, ROW_GAP = 0.23, 0.19, 0.28


def draw_attention(
    images: Sequence[np.ndarray],
    pred_score: Tensor,
    target: Tensor,
    attention: Tensor | Sequence[Tensor],
    class_names: Sequence[str],
    image_names: Sequence[str] | None = None,
    *,
    thr: float | Sequence[float] = 0.5,
    max_labels: int = 4,
) -> Figure:
    """Draw a row per image: its labels, the image, and a heat map for each predicted label.

    The title of a heat map is the label and its score, green if the label is true, red if it is
    not. An image without a score of ``thr`` shows its best label all the same.

    Args:
        images (Sequence[np.ndarray]): B images (H, W, 3), uint8, RGB; H and W may differ.
        pred_score (Tensor): Probabilities (B, C).
        target (Tensor): Multi-hot truth (B, C).
        attention (Tensor | Sequence[Tensor]): (B, C, h, w), or B maps (C, h, w) where h and w
            differ; not negative.
        class_names (Sequence[str]): C names.
        image_names (Sequence[str], optional): Titles of the B images. Defaults to None: their
            numbers.
        thr (float | Sequence[float]): A label with at least this score is predicted; one number,
            or C. Defaults to 0.5.
        max_labels (int): Heat maps per image, at least 1; the highest scores first.
            Defaults to 4.

    Returns:
        Figure: At 100 dpi about 1200 px wide for four heat maps in a row, whatever the images.

    Raises:
        ValueError: If a number of images or classes differs, or there are no images.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if image_names is None:
        image_names = [f'image {index}' for index in range(len(images))]
    _check(images, pred_score, target, attention, class_names, image_names)
    thr = torch.as_tensor(thr, dtype=torch.as_tensor(pred_score).dtype).expand(len(class_names))
    shown = [select_labels(score, thr, max_labels) for score in pred_score]
    columns = 1 + max(map(len, shown))
    panel = min(MAX_PANEL, (PAGE_WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns)
    panel = max(MIN_PANEL, panel)
    text_width = columns * panel + (columns - 1) * GAP
    captions = [
        _caption(*row, class_names, thr, text_width) for row in zip(pred_score, target, shown)
    ]
    # an image fills the panel's width, unless it is a tall portrait
    panel_heights = [panel * min(image.shape[0] / image.shape[1], 1.4) for image in images]
    row_heights = [
        len(lines) * LINE_HEIGHT + TITLE_HEIGHT + height
        for lines, height in zip(captions, panel_heights)
    ]
    width = text_width + 2 * MARGIN
    height = sum(row_heights) + (len(images) - 1) * ROW_GAP + 2 * MARGIN
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)

    top = height - MARGIN
    for row, image in enumerate(images):
        for number, (line, colour) in enumerate(captions[row]):
            _text(figure, MARGIN, top - number * LINE_HEIGHT, line, colour)
        bottom = top - row_heights[row]
        panels = [(image, fit_ends(image_names[row], panel), PLAIN_COLOUR)]
        for label in shown[row]:
            score = f' {float(pred_score[row][label]):.2f}'
            colour = TRUE_COLOUR if target[row][label] > 0 else FALSE_COLOUR
            picture = overlay_attention(image, attention[row][label])
            panels.append((picture, fit_text(class_names[label], panel, score), colour))
        for column, (picture, title, colour) in enumerate(panels):
            box = (MARGIN + column * (panel + GAP), bottom, panel, panel_heights[row])
            _panel(figure, box, picture, title, colour)
        top = bottom - ROW_GAP
    return figure


def select_labels(pred_score: Tensor, thr: float | Tensor, max_labels: int) -> list[int]:
    """The labels of one image to show: scores (C,) of at least ``thr``, highest first.

    There are at most ``max_labels``, and at least one: the best.
    """
    if max_labels < 1:
        raise ValueError(f'max_labels must be at least 1, got {max_labels}')
    pred_score = torch.as_tensor(pred_score)
    number = min(max(int((pred_score >= thr).sum()), 1), max_labels)
    return pred_score.argsort(descending=True, stable=True)[:number].tolist()


def heat_map(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge attention maps smoothly, and scale each to a peak of 1.

    Zero stays zero, so that an attention that is spread over the whole image looks spread.

    Args:
        attention (Tensor): (B, h, w), not negative.
        size (tuple[int, int]): H and W.

    Returns:
        Tensor: (B, H, W), float32, from 0 to 1; all zero where the attention is.
    """
    enlarged = F.interpolate(
        attention.detach().float()[:, None], size=size, mode='bicubic', align_corners=False
    )[:, 0].clamp(min=0)  # bicubic weights undershoot beside a peak
    peak = enlarged.amax(dim=(1, 2), keepdim=True)
    return enlarged / torch.where(peak > 0, peak, 1)


def overlay_attention(image: np.ndarray, attention: Tensor, opacity: float = 0.65) -> np.ndarray:
    """Blend a heat map into a grey version of an image: the hotter, the more it covers.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB.
        attention (Tensor): (h, w), not negative.
        opacity (float): Of the heat map at its peak. Defaults to 0.65.

    Returns:
        np.ndarray: (H, W, 3), uint8, RGB.
    """
    from matplotlib import colormaps

    attention = torch.as_tensor(attention)
    heat = heat_map(attention[None], image.shape[:2])[0].cpu().numpy()  # (H, W)
    grey = image @ np.array([0.299, 0.587, 0.114])  # of RGB, ITU-R BT.601
    alpha = opacity * heat[..., None]
    colours = 255 * colormaps['turbo'](0.88 * heat)[..., :3]  # its end is dark: stop at red
    blended = (1 - alpha) * grey[..., None] + alpha * colours
    return blended.round().astype(np.uint8)


def _check(images, pred_score, target, attention, class_names, image_names) -> None:
    """Refuse sizes that do not fit together."""
    if len(images) == 0:
        raise ValueError('no images to draw: got 0')
    lengths = dict(
        pred_score=len(pred_score),
        target=len(target),
        attention=len(attention),
        image_names=len(image_names),
    )
    for name, length in lengths.items():
        if length != len(images):
            raise ValueError(f'{name} has {length} rows for {len(images)} images')
    widths = dict(pred_score=pred_score, target=target, attention=attention)
    for name, rows in widths.items():
        if len(rows[0]) != len(class_names):
            raise ValueError(f'{name} has {len(rows[0])} classes, class_names {len(class_names)}')


def _caption(
    pred_score: Tensor,
    target: Tensor,
    shown: list[int],
    class_names: Sequence[str],
    thr: Tensor,
    width: float,
) -> list[tuple[str, str]]:
    """Lines of text and their colours: what is true, what was missed, what has no panel."""
    true, predicted, missed, hidden = [], [], [], []
    for label, name in enumerate(class_names):
        is_true, is_predicted = target[label] > 0, pred_score[label] >= thr[label]
        true += [name] if is_true else []
        predicted += [name] if is_predicted else []
        missed += [name] if is_true and not is_predicted else []
        hidden += [name] if is_predicted and label not in shown else []
    lines = [(line, PLAIN_COLOUR) for line in _wrap('true: ', true or ['no label'], width)]
    if missed:
        lines += [(line, MISSED_COLOUR) for line in _wrap('missed: ', missed, width)]
    if hidden:
        lines += [(line, PLAIN_COLOUR) for line in _wrap('also predicted: ', hidden, width)]
    if not predicted:
        least = f'{thr[0]:g}' if (thr == thr[0]).all() else 'the threshold of its label'
        lines.append((f'no score reaches {least}', MISSED_COLOUR))
    return lines


def _wrap(heading: str, names: Sequence[str], width: float) -> list[str]:
    """Names with commas between them, after a heading, on as many lines as they take."""
    lines = [heading]
    for index, name in enumerate(names):
        piece = name + (', ' if index < len(names) - 1 else '')
        if lines[-1] not in (heading, '') and text_width(lines[-1] + piece) > width:
            lines.append('')
        lines[-1] += piece
    return [fit_text(line.rstrip(), width) for line in lines]


def _text(figure: Figure, left: float, top: float, line: str, colour: str) -> None:
    """One line of text, its upper left corner in inches from the page's lower left one."""
    width, height = figure.get_size_inches()
    figure.text(
        left / width,
        top / height,
        line,
        color=colour,
        fontsize=FONT_SIZE,
        verticalalignment='top',
        parse_math=False,
    )


def _panel(figure: Figure, box: tuple, picture: np.ndarray, title: str, colour: str) -> None:
    """A picture in a box (left, bottom, width, height), with a title above."""
    page_width, page_height = figure.get_size_inches()
    left, bottom, width, height = box
    axes = figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height)
    )
    axes.imshow(picture, interpolation='bilinear')
    axes.set_axis_off()
    axes.set_title(title, color=colour, fontsize=FONT_SIZE, pad=4, parse_math=False)
