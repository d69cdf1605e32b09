"""Pictures of predictions in training, validation and testing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.runner import Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mlic.datasets.pictures import image_name, image_to_draw, seen_image
from mlic.datasets.wrappers import transforms_of
from mlic.engine.mmengine_internals import unwrap
from mlic.models.attention_maps import attention_maps, check_attentive


@HOOKS.register_module()
class MultiLabelVisualizationHook(VisualizationHook):
    """mmpretrain's hook, but it draws the original images, not the resized input of the model.

    Images are counted by their place in the data set, so that none replaces another's picture.
    Each of several processes draws its share; what a sampler adds to make the shares even is not
    drawn a second time.

    Args:
        enable (bool): Defaults to False.
        interval (int): Draw the images 0, ``interval``, 2 ``interval``, … Defaults to 5000.
        show (bool): Open a window with each. Defaults to False.
        out_dir (str, optional): Folder of the pictures. Defaults to None: the visualizer's
            backends get them.
        attention (bool): Add where the model looks for each label; the drawn images then go
            through the model once more. Defaults to False.
        draw_args (dict, optional): More arguments of ``MultiLabelVisualizer.visualize_cls``,
            such as ``threshold``. Defaults to None: none.

    Raises:
        ValueError: If ``attention`` is set and the model has no ``attention_maps``.
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
        self._prepare(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """As before validation."""
        self._prepare(runner, runner.test_dataloader)

    def _prepare(self, runner: Runner, loader: DataLoader) -> None:
        self._model = unwrap(runner.model)
        self._loader = loader
        self._transforms = transforms_of(loader.dataset)
        if self.enable and self.attention:
            check_attentive(self._model)
        partial = getattr(runner.visualizer, 'backends_of_main_process', list)()
        if self.enable and self.out_dir is None and runner.world_size > 1 and partial:
            runner.logger.warning(
                f'{", ".join(partial)}: of {runner.world_size} processes, only the first sends its '
                'pictures; LocalVisBackend gets those of all'
            )

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        """Draw the samples of a batch whose turn it is; mmpretrain's methods call this."""
        rank, world_size = get_dist_info()
        before = batch_idx * (self._loader.batch_size or 0)
        for row, (inputs, sample) in enumerate(zip(data_batch['inputs'], data_samples), before):
            index = sample.get('sample_idx', 0)
            is_repeated = row * world_size + rank >= len(self._loader.dataset)
            if not self.enable or index % self.interval or is_repeated:
                continue
            if self.attention:
                _add_attention(sample, self._model, inputs)
            elif isinstance(inputs, Tensor) and inputs.dtype == torch.uint8:
                sample.set_field(seen_image(inputs), 'view', dtype=np.ndarray)
            file = Path(image_name(sample))
            name = f'{index:05d}_{file.stem}' if file.suffix else f'{index:05d}'
            draw_args = dict(self.draw_args)
            if self.out_dir is not None:
                file = f'{name}_{step}.jpg' if step else f'{name}.jpg'
                draw_args['out_file'] = str(Path(self.out_dir) / file)
            image = image_to_draw(sample, self._transforms)
            self._visualizer.visualize_cls(image, sample, step=step, name=name, **draw_args)


@torch.no_grad()
def _add_attention(sample: DataSample, model: nn.Module, inputs: Tensor) -> None:
    """Set ``attention`` (C, h, w), and ``view``, the picture that it lies on."""
    batch = model.data_preprocessor(dict(inputs=[inputs]), False)['inputs']
    maps = attention_maps(model, model.extract_feat(batch, stage='backbone'), [sample])
    sample.set_field(maps[0].cpu(), 'attention', dtype=Tensor)
    sample.set_field(seen_image(inputs, batch.shape[-2:]), 'view', dtype=np.ndarray)
