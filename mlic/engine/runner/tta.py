"""Test-time augmentation: an image is predicted in several views, and its scores are averaged.

Shapes in this module: V views, B images, C classes, S pixels of a side.
"""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.datasets.wrappers import change_inner
from mlic.registries import type_name

from .precision import device_of, float32_logits, on_host, predicts_as_usual

FORMS = 'flip, scales=448,576 (sides in pixels), or both'
SIZING = re.compile('Resize|Crop|Pad|Scale')  # a transform with such a name changes the size


@dataclass(frozen=True)
class TTA:
    """The views of an image: at every scale, as it is and mirrored.

    The scores of the views, which are their sigmoids, are averaged, and labels are decided by the
    mean. A mean of logits would be that of the views which are far out, since they have no bound.

    It is mmengine's scheme: mmcv's ``TestTimeAug`` makes the scales. mmpretrain's
    ``AverageClsScoreTTA`` averages scores, too, but keeps the labels of the first view.

    Args:
        flip (bool): Each view is there twice, the second time mirrored. Defaults to False.
        scales (tuple[int]): S of each view. Defaults to (): that of the test pipeline alone.
    """

    flip: bool = False
    scales: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.flip or bool(self.scales)

    def __str__(self) -> str:
        sides = ','.join(map(str, self.scales))
        return ' '.join(['flip'] * self.flip + [f'scales={sides}'] * bool(sides))

    @property
    def num_views(self) -> int:
        """V."""
        return (1 + self.flip) * max(len(self.scales), 1)

    def pipeline(self, transforms: Sequence[Mapping]) -> list[Mapping]:
        """A test pipeline whose last resize, and the crops after it, are there for every scale.

        The crops keep their part of the picture. ``inputs`` and ``data_samples`` of its result are
        lists over the scales. Without scales it is the pipeline itself.

        Raises:
            ValueError: If it has no size that could be changed; says what to do.
        """
        if not self.scales:
            return list(transforms)
        names = [type_name(transform) for transform in transforms]
        places = [k for k, name in enumerate(names) if name in ('Resize', 'ResizeEdge')]
        if not places:
            raise ValueError(
                f'--tta {self}: the test pipeline has no Resize or ResizeEdge whose size could '
                "change: put dict(type='Resize', scale=(S, S)) into it, or use --tta flip"
            )
        first = places[-1]
        others = [name for name in names[first + 1 :] if SIZING.search(name)]
        if set(others) - {'CenterCrop'}:
            raise ValueError(
                f'--tta {self}: what size {others[0]} has to give is not known here: let the test '
                'pipeline end with Resize, or ResizeEdge and CenterCrop, or use --tta flip'
            )
        shared, own = copy.deepcopy([transforms[:first], transforms[first:]])
        base = _side([x for x in own if _size_key(x)][-1], self)
        for loader in shared:
            if loader.get('reduce_to'):  # of a large JPEG: enough pixels for the largest view
                loader['reduce_to'] = round(loader['reduce_to'] * max(base, *self.scales) / base)
        views = [
            dict(type='Compose', transforms=[_scaled(x, side / base) for x in own])
            for side in self.scales
        ]
        return [*shared, dict(type='TestTimeAug', transforms=[views])]

    def dataset(self, cfg: Mapping) -> Mapping:
        """A data set's config with :meth:`pipeline`, inside of wrappers, too.

        Raises:
            ValueError: As :meth:`pipeline`.
        """
        if not self.scales:
            return cfg
        return change_inner(
            cfg, lambda one: dict(one, pipeline=self.pipeline(one.get('pipeline') or ()))
        )

    @torch.no_grad()
    def check_model(self, model: ImageClassifier) -> None:
        """Refuse a model that cannot predict the views, of which a blank one is tried.

        The model, without a wrapper, is left in evaluation mode.

        Raises:
            ValueError: One line that says what to do.
        """
        if not self:
            return
        head = getattr(model, 'head', None)
        decides = getattr(type(head), '_get_predictions', None)
        if not predicts_as_usual(head) or decides is not MultiLabelClsHead._get_predictions:
            raise ValueError(
                f'--tta {self}: {type(head).__name__} decides differently from '
                "mmpretrain's multi-label heads, whose scores can be averaged: test without it"
            )
        if type(model.backbone).__name__ == 'StoredFeatures':
            raise ValueError(
                f'--tta {self}: stored features are of one view: use the config with the backbone'
            )
        model.eval()
        for side in self.scales:
            try:
                model.head(model.extract_feat(torch.zeros(1, 3, side, side).to(device_of(model))))
            except Exception as error:
                reason = str(error).strip().split('\n')[0] or type(error).__name__
                raise ValueError(
                    f'--tta {self}: {type(model.backbone).__name__}, as it is here, takes no image '
                    f'of {side} x {side} pixels ({reason}): leave this scale out'
                ) from error

    def batches(self, data: Mapping) -> list[dict]:
        """A batch of each scale, (B, 3, S, S), of what a loader or a collation gives."""
        if not self.scales:
            return [data]
        return [{key: value[k] for key, value in data.items()} for k in range(len(self.scales))]

    def predict(self, model: ImageClassifier, batches: Sequence[Mapping]) -> list[DataSample]:
        """Predict the views with one copy to the host.

        Returns:
            list[DataSample]: B, those of the first view, with ``pred_score`` (C,) and
            ``pred_label`` as of ``head.predict``, and if they had it ``gt_score``, on the CPU.
        """
        samples, scores = None, []
        for batch in batches:
            inputs = model.data_preprocessor.cast_data(batch['inputs'])
            for view in [inputs, _mirrored(inputs)] if self.flip else [inputs]:
                given = dict(inputs=view)
                if samples is None:  # the labels are needed once
                    given['data_samples'] = batch.get('data_samples')
                prepared = model.data_preprocessor(given, False)
                samples = samples or prepared.get('data_samples')
                feats = model.extract_feat(prepared['inputs'])
                logits = float32_logits(model.head, feats, samples)  # (B, C)
                scores.append(logits.sigmoid())
        mean, samples = on_host(torch.stack(scores).mean(0), samples)
        thr, topk = model.head.thr, model.head.topk
        for sample, score in zip(samples, mean):
            label = score.topk(topk)[1] if thr is None else (score >= thr).nonzero().flatten()
            sample.set_pred_score(score).set_pred_label(label)
        return samples


def parse_tta(text: str | Sequence[str] | TTA | None) -> TTA:
    """The augmentation of '--tta': 'flip', 'scales=448,576', both, or None for none.

    Args:
        text (str | Sequence[str] | TTA, optional): Words, or one string of them.

    Raises:
        ValueError: If it is something else; one line.
    """
    if isinstance(text, TTA):
        return text
    words = text.split() if isinstance(text, str) else text or ()
    flip, scales = False, ()
    for word in words if isinstance(words, Iterable) else [words]:
        sides = re.fullmatch(r'scales=([1-9]\d*(?:,[1-9]\d*)*)', str(word))
        if (word == 'flip' and flip) or (sides and scales):
            raise ValueError(f'--tta: {word} is one too many: use {FORMS}')
        if sides:
            scales = tuple(map(int, sides[1].split(',')))
        elif word == 'flip':
            flip = True
        else:
            raise ValueError(f'--tta: {word} is not a test-time augmentation: use {FORMS}')
    if len(set(scales)) < len(scales):
        raise ValueError(f'--tta scales={",".join(map(str, scales))}: a scale is given twice')
    return TTA(flip, scales)


def _mirrored(inputs: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Images (B, 3, H, W), or B of (3, H, W), with left and right exchanged."""
    return inputs.flip(-1) if isinstance(inputs, Tensor) else [image.flip(-1) for image in inputs]


def _size_key(transform: Mapping) -> str | None:
    """The argument that is its size."""
    sizes = dict(Resize='scale', ResizeEdge='scale', CenterCrop='crop_size')
    return sizes.get(type_name(transform))


def _side(transform: Mapping, tta: TTA) -> int:
    """The side of the squares that a transform gives."""
    size = transform.get(_size_key(transform))
    sides = {size} if isinstance(size, int) else set(size or ())
    if len(sides) != 1:
        raise ValueError(
            f'--tta {tta}: {type_name(transform)} of the test pipeline gives {size}, and scales '
            'are sides of squares: give it a square, such as (448, 448), or use --tta flip'
        )
    return sides.pop()


def _scaled(transform: Mapping, factor: float) -> dict:
    """A copy whose size is multiplied."""
    scaled, key = copy.deepcopy(dict(transform)), _size_key(transform)
    if key:
        size = scaled[key]
        is_one = isinstance(size, int)
        scaled[key] = round(size * factor) if is_one else tuple(round(x * factor) for x in size)
    return scaled
