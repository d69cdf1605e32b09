"""Prediction of batches, in which one image's fault is its own. B images, C classes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from mmengine.dataset import default_collate
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.engine.runner.tta import TTA
from mlic.image_reader import ImageReadError
from mlic.models.given_labels import give_labels

from .image_inputs import as_its_own, shapes
from .model_outputs import predict_batch


class BatchPredictor:
    """Predicts what an :class:`.InputPipeline` yields."""

    def __init__(
        self, model: nn.Module, tta: TTA, autocast: Callable[[], AbstractContextManager]
    ) -> None:
        self.model, self.tta, self.autocast = model, tta, autocast

    def __call__(
        self,
        names: Sequence[str],
        items: Sequence[dict | ImageReadError],
        given: Sequence[Tensor | None],
        attention: bool,
    ) -> list[DataSample | ImageReadError]:
        """Images of one size together; the errors stay in their places.

        Args:
            names (Sequence[str]): B of them, for messages.
            items (Sequence[dict | ImageReadError]): Of the pipeline.
            given (Sequence[Tensor | None]): What is known of each image, (C,), see
                :func:`mlic.models.given_labels.give_labels`. Its scores are what is known.
            attention (bool): See :func:`predict_batch`.
        """
        outcomes = list(items)
        groups: dict[tuple, list[int]] = {}
        for index, (item, row) in enumerate(zip(items, given)):
            if not isinstance(item, ImageReadError):
                groups.setdefault(shapes(item['inputs']), []).append(index)
                if row is not None:
                    views = item['data_samples']
                    give_labels(views[0] if isinstance(views, list) else views, row)
        for indices in groups.values():
            samples = self._predict([(names[k], items[k]) for k in indices], attention)
            for index, sample in zip(indices, samples):
                outcomes[index] = sample
        for index, (outcome, row) in enumerate(zip(outcomes, given)):
            if isinstance(outcome, DataSample):
                score = outcome.pred_score.float()  # of a head's own predict
                if not score.isfinite().all():
                    outcomes[index] = ImageReadError(
                        f'{names[index]}: not predicted ({(~score.isfinite()).sum()} of '
                        f'{score.numel()} scores are NaN or infinite: damaged weights, a std of 0, '
                        'or a precision too low)'
                    )
                    continue
                outcome.set_pred_score(score if row is None else row.where(~row.isnan(), score))
        return outcomes

    @torch.no_grad()
    def _predict(
        self, pairs: list[tuple[str, dict]], attention: bool
    ) -> list[DataSample | ImageReadError]:
        """Images of one size; where the model fails with all of them together, one by one."""
        try:
            with self.autocast():
                samples = predict_batch(
                    self.model, default_collate([item for _, item in pairs]), self.tta, attention
                )
            return [sample.cpu() for sample in samples]
        except Exception as error:
            if len(pairs) > 1:
                return [self._predict([pair], attention)[0] for pair in pairs]
            return [as_its_own(pairs[0][0], error)]
