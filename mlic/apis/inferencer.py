"""Predict the labels of images: B images, C classes, h x w attention cells."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.datasets.pictures import image_to_draw
from mlic.engine.checkpoints.search import FoundCheckpoint
from mlic.engine.runner.precision import (
    autocast_to,
    predict_on_host,
    usable_precision,
)
from mlic.engine.runner.tta import TTA, parse_tta
from mlic.evaluation.matrices import check_whole
from mlic.files import write_picture
from mlic.image_reader import ImageReadError
from mlic.models.given_labels import check_takes_given
from mlic.visualization.multi_label_visualizer import draw_sample

from .batches import BatchPredictor
from .folding import make_ready
from .image_inputs import (
    PATH,
    ImageInput,
    input_name,
    input_pipeline,
    list_inputs,
    picture_name,
    to_pixels,
)
from .known_labels import Known, known_rows
from .onnx_model import ONNX, OnnxModel
from .open_run import open_run
from .prediction import Prediction, choose_threshold, decide
from .stored_config import refuse_stored


class MultiLabelInferencer:
    """Predict labels of images with a trained model, from a checkpoint alone.

    Images go through the config's test pipeline, so scores are those of ``tools/test.py``, up to
    the rounding of a BatchNorm that is folded into its convolution where possible. It is called as
    mmpretrain's inferencers are; :meth:`stream` continues after an image that cannot be read.

    Args:
        checkpoint (str | Path): Work directory; or checkpoint, such as a published one: its file
            or address; or ``.onnx`` file of ``export.py``, see :class:`.OnnxModel`.
        config (str | Path | Config, optional): Config file. Defaults to None: the one that the
            checkpoint holds.
        device (str, optional): Defaults to None: the GPU if there is one.
        stage (str): Of a work directory: 'best' or 'last', see :func:`open_run`. Defaults to
            'best'.
        allow_imports (Sequence[str]): Packages that the config in the checkpoint may import
            in addition to those of this installation. Defaults to none.
        precision (str): 'bfloat16' or 'float16' lowers that of the model, not of the scores
            (docs/inference.md has their changes). Defaults to
            'float32'.
        tta (str | Sequence[str] | TTA, optional): Test-time augmentation, such as 'flip' or 'flip
            scales=448,576': scores are the mean of those of several views. Defaults to None.
        known (Mapping[str, bool], optional): Labels known of every image, unless a call says
            otherwise: see :meth:`stream`. Defaults to None: nothing.

    Attributes:
        checkpoint (FoundCheckpoint): What was loaded, with stage, epoch and score.
        classes (list[str]): Names of the classes.
        thresholds (ThresholdFile, optional): Each class's own in the checkpoint, used if no
            ``thr`` is given.
        precision (str): What the model computes in: float16 if bfloat16 was asked of a GPU that
            does not have it.
        tta (TTA): What ``tta`` asked for.

    Raises:
        ValueError: If there is no config, or a stored one that is refused; or weights, classes or
            thresholds do not fit; or the test pipeline or the model does not fit ``tta``; or
            the model cannot use ``known``.

    Example:
        >>> inferencer = MultiLabelInferencer('work_dirs/run')
        >>> inferencer('photo.jpg')
        Prediction(image='photo.jpg', labels=(('dog', 0.93), ('tree', 0.71)))
        >>> [prediction.names for prediction in inferencer(['photo.jpg', 'b.jpg'], topk=1)]
        [['dog'], ['dog']]
    """

    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None = None,
        device: str | None = None,
        stage: str = 'best',
        allow_imports: Sequence[str] = (),
        precision: str = 'float32',
        tta: str | Sequence[str] | TTA | None = None,
        known: Mapping[str, bool] | None = None,
    ) -> None:
        self.tta = parse_tta(tta)
        self._open(checkpoint, config, device, stage, allow_imports, precision)
        self.known = known
        self._pairs((), known)  # refuses what does not fit

    def _open(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None,
        device: str | None,
        stage: str,
        allow_imports: Sequence[str],
        precision: str,
    ) -> None:
        """Build the model and its pipeline."""
        if str(checkpoint).endswith(ONNX):
            if config or device not in (None, 'cpu') or precision != 'float32' or self.tta:
                raise ValueError(
                    f'{checkpoint} has its own config, precision and size, and computes on the CPU'
                )
            self.model = OnnxModel(checkpoint)
            self.checkpoint = FoundCheckpoint(str(checkpoint))
            self.config, self.precision = self.model.config, self.model.precision
            self.classes, self.thresholds = self.model.classes, self.model.thresholds
            self.pipeline = input_pipeline(self.config, self.tta)
            self._predict = BatchPredictor(self.model, self.tta, nullcontext)
            return
        options = dict(stage=stage, device=device, allow_imports=allow_imports)
        run = open_run(checkpoint, config, **options)
        self.checkpoint, self.config = run.checkpoint, run.config
        self.classes, self.thresholds = run.classes, run.thresholds
        with refuse_stored(run.checkpoint.path) if config is None else nullcontext():
            self.pipeline = input_pipeline(run.config, self.tta)
        self.precision = usable_precision(precision, run.model)
        self.model = make_ready(run.model, self.precision)
        predict_on_host(self.model)
        self.tta.check_model(self.model)
        autocast = partial(autocast_to, self.precision, self.model)
        self._predict = BatchPredictor(self.model, self.tta, autocast)
        if self.thresholds:
            print_log(f'thresholds: {self.thresholds}', 'current')

    def __call__(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        *,
        thr: float | str | Path | Mapping[str, float] | Sequence[float] | None = None,
        topk: int | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        attention: bool = False,
        show_dir: str | Path | None = None,
        return_datasamples: bool = False,
        known: Known | None = None,
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Predict one image, several, or a stream of them.

        Args:
            inputs (ImageInput | Iterable): An image, which is a path, an address (``https://``),
                the bytes of a file, a Pillow image, or an array, BGR as of OpenCV and for
                mmpretrain's inferencers: (H, W, 3), (H, W, 4) with alpha, or grey (H, W), uint8 or
                uint16. Or a list of images, a folder, a pattern, or an iterator of images.
            show_dir (str | Path, optional): Folder for a picture of each image with its labels.
                Defaults to None.
            thr, topk, batch_size, num_workers, attention, return_datasamples, known: See
                :meth:`stream`.

        Returns:
            Prediction | list[Prediction] | Iterator[Prediction]: Of one image; of a list, a folder
            or a pattern; of an iterator, from which no more than a few batches are taken ahead.

        Raises:
            ImageReadError: Of the first image that cannot be predicted; one line with its name.
            TypeError: If ``inputs`` are neither an image nor several.
            ValueError: If ``thr``, ``topk``, ``known`` or a number do not fit.
        """
        sources, single, changing = list_inputs(inputs)
        options = self._options(thr, topk, batch_size, num_workers, attention)
        pairs, keep = self._pairs(sources, known), show_dir is not None
        samples = self._samples(pairs, single, changing, keep, **options)
        results = self._results(samples, show_dir, return_datasamples)
        if single:
            return next(results)
        return list(results) if hasattr(sources, '__len__') else results

    def stream(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        batch_size: int = 32,
        num_workers: int = 0,
        thr: float | str | Path | Mapping[str, float] | Sequence[float] | None = None,
        topk: int | None = None,
        attention: bool = False,
        return_datasamples: bool = False,
        known: Known | None = None,
    ) -> Iterator[tuple[ImageInput, Prediction | DataSample | ImageReadError]]:
        """Predict image after image; whatever fails with one is that one's error.

        Args:
            inputs (ImageInput | Iterable): As of a call.
            batch_size (int): Images at a time. Defaults to 32.
            num_workers (int): Threads that read and resize while the model computes. Defaults to
                0: none.
            thr (float | str | Path | Mapping | Sequence[float], optional): Lowest score of a
                predicted label: a number; or each class's, by name, in a file of
                ``fit_thresholds.py``, or C numbers. Defaults to None: the checkpoint's own
                thresholds, else 0.5.
            topk (int, optional): This many labels, the best, instead of ``thr``. Defaults to None.
            attention (bool): Add ``attention`` (C, h, w), not negative, to the samples, and
                the image that it belongs to, ``view`` (H, W, 3), RGB, uint8. Defaults to False.
            return_datasamples (bool): Give mmpretrain's samples with ``pred_score`` (C,) and
                ``pred_label``, highest score first, on the CPU. Defaults to False.
            known (Mapping[str, bool] | Iterable[Mapping[str, bool] | None], optional): Which
                classes are known to be there, and which not to be, such as {'dog': True, 'cat':
                False}; of all images, or one for each. Their scores are 1 and 0. Only some models
                can use it, such as C-Tran. Defaults to None: that of the inferencer.

        Returns:
            Iterator[tuple]: The input, and its :class:`Prediction` or sample; or an
            :class:`ImageReadError`, one line that names the image: it cannot be read, or the
            pipeline or the model fails with it. The input is the object that was given: what an
            iterator has changed since, such as a GIF's frame, holds a later image by then.
        """
        sources, single, changing = list_inputs(inputs)
        options = self._options(thr, topk, batch_size, num_workers, attention)
        samples = self._samples(self._pairs(sources, known), single, changing, False, **options)
        return (
            (source, self._result(name, outcome, return_datasamples))
            for name, source, outcome in samples
        )

    def draw(self, source: ImageInput, sample: DataSample):
        """The picture (Pillow) of one prediction, with heat maps if it has ``attention``."""
        is_file = isinstance(source, PATH)
        source = os.fsdecode(source) if is_file else to_pixels(source, 'the image')
        image = image_to_draw(sample, self.pipeline.transforms, source)
        return draw_sample(image, sample, self.classes)

    def _options(
        self, thr: object, topk: int | None, batch_size: int, num_workers: int, attention: bool
    ) -> dict:
        """Those of :meth:`_samples`, checked; ``thr`` for all classes, or (C,)."""
        check_whole('batch_size', batch_size, 1)
        check_whole('num_workers', num_workers, 0)
        thr = choose_threshold(thr, topk, self.thresholds, self.classes)
        sizes = dict(batch_size=batch_size, num_workers=num_workers)
        return dict(sizes, thr=thr, topk=topk, attention=attention)

    def _pairs(
        self, sources: Iterable[ImageInput], known: Known | None
    ) -> Iterator[tuple[ImageInput, Tensor | None]]:
        """The images, each with what is known of it."""
        known = self.known if known is None else known
        if known is not None:
            check_takes_given(self.model, 'known')
        return known_rows(known, sources, self.classes)

    def _samples(
        self,
        pairs: Iterator[tuple[ImageInput, Tensor | None]],
        single: bool,
        changing: bool,
        keep: bool,
        batch_size: int,
        num_workers: int,
        thr: float | np.ndarray,
        topk: int | None,
        attention: bool,
    ) -> Iterator[tuple[str, ImageInput, DataSample | ImageReadError]]:
        """Name, input and outcome of each."""
        named = (
            (input_name(source, None if single else index), source, row)
            for index, (source, row) in enumerate(pairs)
        )
        ahead = 2 * batch_size
        read = self.pipeline.read_ahead(named, num_workers, ahead, changing, keep)
        while batch := list(islice(read, batch_size)):
            taken, items = zip(*batch)
            names, sources, given = zip(*taken)
            outcomes = self._predict(names, items, given, attention)
            for name, source, outcome in zip(names, sources, outcomes):
                if isinstance(outcome, DataSample):
                    outcome.set_pred_label(decide(outcome.pred_score, thr, topk))
                yield name, source, outcome

    def _results(
        self, samples: Iterator[tuple], show_dir: str | Path | None, return_datasamples: bool
    ) -> Iterator[Prediction | DataSample]:
        """Results alone; raises the first error of an image."""
        for index, (name, source, outcome) in enumerate(samples):
            if isinstance(outcome, ImageReadError):
                raise outcome
            if show_dir is not None:
                path = Path(show_dir) / f'{index:05d}_{picture_name(name)}.jpg'
                write_picture(path, self.draw(source, outcome))
            yield self._result(name, outcome, return_datasamples)

    def _result(
        self, name: str, outcome: DataSample | ImageReadError, return_datasamples: bool
    ) -> Prediction | DataSample | ImageReadError:
        if return_datasamples or isinstance(outcome, ImageReadError):
            return outcome
        scores = [round(score, 6) for score in outcome.pred_score.tolist()]
        labels = tuple((self.classes[k], scores[k]) for k in outcome.pred_label.tolist())
        return Prediction(name, labels, dict(zip(self.classes, scores)))
