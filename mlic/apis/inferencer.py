"""Predict the labels of images: B images, C classes, h x w attention cells."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mlic.datasets.pictures import LOADERS, image_to_draw
from mlic.files import write_picture
from mlic.image_reader import ImageReadError, read_image
from mlic.visualization.multi_label_visualizer import draw_sample

from .folding import fold_batch_norm
from .model_outputs import predict_with_attention
from .open_run import open_run
from .stored_config import refuse_stored


class MultiLabelInferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer for several labels per image, from a checkpoint alone.

    Images go through the config's test pipeline, so scores are those of ``tools/test.py``, up to
    the rounding of a BatchNorm that is folded into its convolution where possible. Calling
    it gives a list of dicts; :meth:`stream` goes on after an image that cannot be read.

    Args:
        checkpoint (str | Path): Checkpoint file or address, or a work directory.
        config (str | Path | Config, optional): Config file. Defaults to None: the one that the
            checkpoint holds.
        device (str, optional): Defaults to None: the GPU if there is one.
        stage (str): Of a work directory: 'best' or 'last', see :func:`open_run`. Defaults to
            'best'.
        allow_imports (Sequence[str]): Packages that the config in the checkpoint may import
            beside those of this installation. Defaults to none.

    Attributes:
        checkpoint (FoundCheckpoint): What was loaded, with stage, epoch and score.

    Raises:
        ValueError: If there is no config, or a stored one that is refused; or weights or classes
            do not fit.

    Example:
        >>> inferencer = MultiLabelInferencer('work_dirs/run/best.pth')
        >>> inferencer(['dog.jpg'], thr=0.5)[0]['pred_class']
        ['dog', 'sofa']
    """

    preprocess_kwargs = {'num_workers'}
    forward_kwargs = {'thr', 'topk', 'attention'}
    visualize_kwargs = {'show_dir'}

    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None = None,
        device: str | None = None,
        stage: str = 'best',
        allow_imports: Sequence[str] = (),
    ) -> None:
        options = dict(stage=stage, device=device, allow_imports=allow_imports)
        run = open_run(checkpoint, config, **options)
        self.checkpoint = run.checkpoint
        with refuse_stored(run.checkpoint.path) if config is None else nullcontext():
            super().__init__(fold_batch_norm(run.model), pretrained=False)

    def stream(
        self,
        inputs: Sequence[str | np.ndarray],
        batch_size: int = 32,
        num_workers: int = 0,
        thr: float | Sequence[float] = 0.5,
        topk: int | None = None,
        attention: bool = False,
    ) -> Iterator[tuple[str | np.ndarray, DataSample | ImageReadError]]:
        """Predict image after image; whatever fails with one is that one's error.

        Args:
            inputs (Sequence[str | np.ndarray]): Paths, addresses, or BGR arrays (H, W, 3), uint8.
            batch_size (int): Images at a time. Defaults to 32.
            num_workers (int): Processes that read and resize. Defaults to 0: none.
            thr (float | Sequence[float]): Lowest score of a predicted label, for all classes or
                for each of C. Defaults to 0.5.
            topk (int, optional): The best so many labels in place of ``thr``. Defaults to None.
            attention (bool): Add ``attention`` (C, h, w), each map with sum 1, and the image that
                it belongs to, ``view`` (H, W, 3), RGB, uint8. Defaults to False.

        Yields:
            tuple: The input, and a sample with ``pred_score`` (C,) and ``pred_label``, highest
            score first, on the CPU; or an :class:`ImageReadError`, one line that names the image:
            it cannot be read, or the pipeline or the model fails with it.
        """
        inputs = list(inputs)
        start = 0
        for batch in self.preprocess(inputs, batch_size, num_workers):
            outcomes = self._forward(batch, thr, topk, attention)
            yield from zip(inputs[start : start + len(batch)], outcomes)
            start += len(batch)

    def preprocess(
        self, inputs: Sequence[str | np.ndarray], batch_size: int = 1, num_workers: int = 0
    ) -> Iterator[list]:
        """Batches, as lists of what the pipeline yields, or of :class:`ImageReadError`."""
        options = dict(num_workers=num_workers, collate_fn=self.pipeline.read_all)
        yield from DataLoader(inputs, batch_size, **options)

    def forward(
        self,
        batch: list,
        thr: float | Sequence[float] = 0.5,
        topk: int | None = None,
        attention: bool = False,
    ) -> list[DataSample]:
        """Predict a batch; raises the first error of an image."""
        outcomes = self._forward(batch, thr, topk, attention)
        for outcome in outcomes:
            if isinstance(outcome, ImageReadError):
                raise outcome
        return outcomes

    @torch.no_grad()
    def _forward(
        self, batch: list, thr: float | Sequence[float], topk: int | None, attention: bool
    ) -> list[DataSample | ImageReadError]:
        """Images of one size together; the errors stay in their places."""
        outcomes = list(batch)
        groups: dict[tuple, list[int]] = {}
        for index, item in enumerate(batch):
            if not isinstance(item, ImageReadError):
                groups.setdefault(tuple(item['inputs'].shape), []).append(index)
        for indices in groups.values():
            samples = self._predict([batch[index] for index in indices], attention)
            for index, sample in zip(indices, samples):
                if isinstance(sample, DataSample):
                    sample.set_pred_label(decide(sample.pred_score, thr, topk))
                outcomes[index] = sample
        return outcomes

    def _predict(self, items: list[dict], attention: bool) -> list[DataSample | ImageReadError]:
        """Images of one size; where the model fails with all of them together, one by one."""
        predict = predict_with_attention if attention else type(self.model).test_step
        try:
            return [sample.cpu() for sample in predict(self.model, default_collate(items))]
        except Exception as error:
            if len(items) > 1:
                return [self._predict([item], attention)[0] for item in items]
            return [_as_its_own(items[0]['data_samples'].get('img_path'), error)]

    def visualize(
        self,
        inputs: Sequence[str | np.ndarray],
        preds: Sequence[DataSample],
        show_dir: str | Path | None = None,
    ) -> list[np.ndarray] | None:
        """Pictures (H, W, 3), RGB, of the predictions, written to ``show_dir``; None without."""
        if show_dir is None:
            return None
        pictures = []
        for index, (source, sample) in enumerate(zip(inputs, preds)):
            picture = self.draw(source, sample)
            write_picture(Path(show_dir) / f'{index:05d}_{picture_name(source)}.jpg', picture)
            pictures.append(np.asarray(picture))
        return pictures

    def draw(self, source: str | np.ndarray, sample: DataSample):
        """The picture (Pillow) of one prediction, with heat maps if it has ``attention``."""
        image = image_to_draw(sample, self.pipeline.transforms, source)
        return draw_sample(image, sample, self.classes)

    def postprocess(
        self,
        preds: list[DataSample],
        visualization: list[np.ndarray] | None,
        return_datasamples: bool = False,
    ) -> list:
        """Samples, or dicts of ``pred_scores`` (C,), ``pred_label`` and ``pred_class``."""
        if return_datasamples:
            return preds
        return [
            dict(
                pred_scores=sample.pred_score.numpy(),
                pred_label=sample.pred_label.tolist(),
                pred_class=[self.classes[label] for label in sample.pred_label],
            )
            for sample in preds
        ]

    def _init_pipeline(self, cfg: Config) -> Callable:
        """The config's test pipeline, from a path or from an array."""
        transforms = cfg.test_dataloader.dataset.pipeline
        if not any(transform['type'] in LOADERS for transform in transforms):
            # a data set that makes its images
            transforms = [dict(type='LoadImageStrict'), *transforms]
        return _Pipeline([TRANSFORMS.build(transform) for transform in transforms])


def decide(pred_score: Tensor, thr: float | Sequence[float], topk: int | None) -> Tensor:
    """Predicted labels (K,), highest score first: scores (C,) of at least ``thr``, or the best.

    Raises:
        ValueError: If there are not as many thresholds as scores, or ``topk`` is not positive.
    """
    order = pred_score.argsort(descending=True, stable=True)
    if topk is not None:
        if topk < 1:
            raise ValueError(f'topk must be at least 1, got {topk}')
        return order[:topk]
    thr = torch.as_tensor(thr, dtype=torch.float64)
    if thr.dim() and thr.shape != pred_score.shape:
        raise ValueError(f'got {len(thr)} thresholds for {len(pred_score)} classes')
    return order[(pred_score >= thr)[order]]


class _Pipeline(Compose):
    """Transforms on a path, or on an array in place of loading."""

    def __call__(self, source: str | np.ndarray) -> dict:
        if isinstance(source, str):
            return super().__call__(dict(img_path=source))
        results = dict(img=source, img_shape=source.shape[:2], ori_shape=source.shape[:2])
        for transform in self.transforms:
            if type(transform).__name__ not in LOADERS:
                results = transform(results)
        return results

    def read_all(self, sources: Sequence[str | np.ndarray]) -> list[dict | ImageReadError]:
        """Each input through the transforms, or the error that says why it cannot be read."""
        return [self._read(source) for source in sources]

    def _read(self, source: str | np.ndarray) -> dict | ImageReadError:
        try:
            item = self(source)
            item['inputs'].shape, item['data_samples']  # noqa: B018, an error if they are not there
            return item
        except ImageReadError as error:
            return error
        except Exception as error:
            if isinstance(source, str):
                try:  # mmcv's loader fails in many ways, and this one says what it is
                    read_image(source)
                except ImageReadError as fault:
                    return fault
            return _as_its_own(source, error)


def _as_its_own(source: str | np.ndarray | None, error: Exception) -> ImageReadError:
    """What went wrong with an image, whatever it was, as one line with its name."""
    name = source if isinstance(source, str) else 'an image'
    text = ' '.join(str(error).split())
    fault = ImageReadError(f'{name}: not predicted ({type(error).__name__}: {text})')
    fault.__cause__ = error
    return fault


def picture_name(source: str | np.ndarray) -> str:
    """A name for a picture of an image, without extension, that every file system takes."""
    stem = Path(source).stem if isinstance(source, str) else 'image'
    return re.sub(r'[^\w .,()+-]', '_', stem)[:60]  # 240 bytes, as an address may be long
