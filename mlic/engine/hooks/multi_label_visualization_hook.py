"""Pictures of predictions in training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.datasets.pictures import image_name, image_to_draw, seen_image
from mlic.models.attention_maps import attentive_neck


@HOOKS.register_module()
class MultiLabelVisualizationHook(VisualizationHook):
    """mmpretrain's hook that draws the images of users, not the model's squashed input.

    Images are counted by their place in the data set, so that none replaces another's picture.

    Args:
        enable (bool): Defaults to False.
        interval (int): Draw the images 0, ``interval``, 2 ``interval``, … Defaults to 5000.
        show (bool): Open a window with each. Defaults to False.
        out_dir (str, optional): Folder of the pictures. Defaults to None: the visualizer's
            backends get them.
        attention (bool): Add where the model looks for each label; the drawn images then go
            through the model once more. Defaults to False.
        draw_args (dict): More arguments of ``MultiLabelVisualizer.visualize_cls``, such as
            ``threshold``. Defaults to none.

    Raises:
        ValueError: If ``attention`` is set and the model's neck has no ``attention_maps``.
    """

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: str | None = None,
        attention: bool = False,
        draw_args: dict | None = None,
    ) -> None:
        super().__init__(enable, interval, show, out_dir, **(draw_args or {}))
        self.attention = attention

    def before_val(self, runner: Runner) -> None:
        """Refuse what cannot be drawn before the first image is predicted."""
        if self.enable and self.attention:
            attentive_neck(_unwrapped(runner.model))

    before_test = before_val

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw every ``interval``-th image of the validation set."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        step = runner.epoch if by_epoch else runner.iter
        self._draw(runner, runner.val_dataloader, data_batch, outputs, step)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw every ``interval``-th image of the test set."""
        self._draw(runner, runner.test_dataloader, data_batch, outputs)

    def _draw(self, runner, loader, data_batch: dict, outputs: Sequence, step: int = 0) -> None:
        """Draw the samples of a batch whose turn it is."""
        for position, sample in enumerate(outputs):
            index = sample.get('sample_idx', 0)
            if not self.enable or index % self.interval:
                continue
            inputs = data_batch['inputs'][position]
            if self.attention:
                _add_attention(sample, _unwrapped(runner.model), inputs)
            elif isinstance(inputs, Tensor) and inputs.dtype == torch.uint8:
                sample.set_field(seen_image(inputs), 'view', dtype=np.ndarray)
            file = Path(image_name(sample))
            name = f'{index:05d}_{file.stem}' if file.suffix else f'{index:05d}'
            draw_args = dict(self.draw_args)
            if self.out_dir is not None:
                file = Path(self.out_dir) / (f'{name}_{step}.jpg' if step else f'{name}.jpg')
                draw_args['out_file'] = str(file)
            image = image_to_draw(sample, loader.dataset.pipeline.transforms)
            self._visualizer.visualize_cls(image, sample, step=step, name=name, **draw_args)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model without what several processes wrap it in."""
    return model.module if is_model_wrapper(model) else model


@torch.no_grad()
def _add_attention(sample: DataSample, model: nn.Module, inputs: Tensor) -> None:
    """Set ``attention`` (C, h, w), and ``view``, the picture that it lies on."""
    batch = model.data_preprocessor(dict(inputs=[inputs]), False)['inputs']
    maps = attentive_neck(model).attention_maps(model.extract_feat(batch, stage='backbone'))
    sample.set_field(maps[0].cpu(), 'attention', dtype=Tensor)
    sample.set_field(seen_image(inputs, batch.shape[-2:]), 'view', dtype=np.ndarray)
