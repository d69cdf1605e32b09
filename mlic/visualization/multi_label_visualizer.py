"""The visualizer of multi-label predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.visualization import LocalVisBackend
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

from mlic.files import write_picture

from .page import left_to_right
from .prediction import draw_prediction


@VISUALIZERS.register_module()
class MultiLabelVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer with :func:`draw_sample` as the picture of a prediction.

    Every process knows the classes, and gives its pictures to the ``LocalVisBackend``; the other
    backends exist once for all processes, and get those of the first.

    Its arguments are those of mmpretrain's ``UniversalVisualizer``.
    """

    @property
    def dataset_meta(self) -> dict | None:
        """What is known of the data set, on every process; mmengine's only on the first."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Hand a picture, (H, W, 3), uint8, RGB, to the backends that this process has."""
        for backend in self._vis_backends.values():
            if is_main_process() or isinstance(backend, LocalVisBackend):
                backend.add_image(name, image, step)

    def backends_of_main_process(self) -> list[str]:
        """The names of the backends that get the pictures of the first process alone."""
        backends = self._vis_backends.items()
        return [name for name, one in backends if not isinstance(one, LocalVisBackend)]

    def visualize_cls(
        self,
        image: np.ndarray,
        data_sample: DataSample,
        classes: Sequence[str] | None = None,
        threshold: float | Mapping[str, float] | None = None,
        draw_gt: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        name: str = '',
        step: int = 0,
    ) -> np.ndarray:
        """Draw a predicted sample, into a file or to the backends.

        Args:
            image, data_sample: See :func:`draw_sample`.
            classes (Sequence[str], optional): C names. Defaults to None: those of the data set,
                and numbers where it has none.
            threshold, draw_gt: See :func:`draw_sample`.
            show (bool): Open a window with it. Defaults to False.
            wait_time (float): Seconds until the window closes. Defaults to 0: never.
            out_file (str, optional): File to write, instead of handing the picture to the
                backends. Defaults to None.
            name (str): Of the picture in the backends. Defaults to ''.
            step (int): Of the picture in the backends. Defaults to 0.

        Returns:
            np.ndarray: The picture, (H', W', 3), uint8, RGB.
        """
        classes = classes or (self.dataset_meta or {}).get('classes')
        drawn = draw_sample(image, data_sample, classes, threshold=threshold, draw_gt=draw_gt)
        picture = np.asarray(drawn)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, picture, step=step)
        else:
            write_picture(out_file, drawn)
        return picture


def draw_sample(
    image: np.ndarray,
    data_sample: DataSample,
    classes: Sequence[str] | None = None,
    *,
    threshold: float | Mapping[str, float] | None = None,
    draw_gt: bool = True,
    max_maps: int | None = None,
    title: str | None = None,
) -> Image.Image:
    """Draw a predicted sample of C classes; see :func:`.prediction.draw_prediction`.

    A sample without a predicted label says which is its best, and shows where the model looks for
    that one.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB: what ``attention`` lies on, if there is one.
        data_sample (DataSample): With ``pred_score`` (C,) and ``pred_label``; ``gt_label``, if it
            is known, and ``gt_label_difficult`` and ``gt_label_unknown``, the classes that are
            neither right nor wrong; ``attention`` (C, h, w), to show where the model looks.
        classes (Sequence[str], optional): C names. Defaults to None: numbers.
        threshold (float | Mapping[str, float], optional): Lowest score of a predicted label, or
            that of each class by its name. Defaults to None: the sample's ``pred_label``.
        draw_gt (bool): Say which labels are true, if it is known. Defaults to True.
        max_maps (int, optional): At most this many heat maps of predicted labels, and then of
            missed ones, the highest scores first. Defaults to None.
        title (str, optional): Of an image in a sheet of several. Defaults to None.
    """
    scores = data_sample.pred_score.detach().float().cpu()
    names = [str(name) for name in classes or range(len(scores))]
    if threshold is None:
        chosen = torch.zeros(len(scores), dtype=torch.bool)
        chosen[data_sample.pred_label.long().cpu()] = True
    else:
        if isinstance(threshold, Mapping):
            threshold = [threshold[name] for name in names]
        chosen = scores >= torch.as_tensor(threshold, dtype=scores.dtype)
    order = scores.argsort(descending=True, stable=True).tolist()
    predicted = [label for label in order if chosen[label]]
    missed, looks = [], ['unknown'] * len(predicted)
    if draw_gt and 'gt_label' in data_sample:
        true = set(data_sample.gt_label.tolist())
        missed = [label for label in order if label in true and not chosen[label]]
        keys = 'gt_label_difficult', 'gt_label_unknown'
        looks = {label: 'unknown' for key in keys for label in data_sample.get(key, ())}
        looks.update(dict.fromkeys(true, 'true'))
        looks = [looks.get(label, 'false') for label in predicted]
    note, attention = '', None
    if not predicted:
        best = order[0]
        note = f'none predicted; the best is {left_to_right(names[best])} {scores[best]:.2f}'
        if 'attention' in data_sample and best not in missed:
            predicted, looks = [best], ['unknown']
    shown = list(zip(predicted, looks)) + [(label, 'missed') for label in missed]
    if 'attention' in data_sample:
        with_map = predicted[:max_maps] + missed[:max_maps]
        shown.sort(key=lambda one: one[0] not in with_map)
        attention = data_sample.attention[with_map]
    labels = [label for label, _ in shown]
    return draw_prediction(
        image,
        [names[label] for label in labels],
        scores[labels].tolist(),
        attention,
        note,
        looks=[look for _, look in shown],
        title=title,
    )
