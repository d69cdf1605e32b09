"""The precision of evaluation, prototypes and inference, such as ``eval_precision`` in a config.

Shapes in this module: B images, C classes.
"""

from functools import partial

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.dtypes import at_least_float32
from mlic.models.given_labels import TakesGivenLabels, given_labels
from mlic.models.training_parts import TrainingParts

from ..config.device import RESNETS, has_bfloat16

PRECISIONS = ('float32', 'bfloat16', 'float16')


def eval_precision(cfg: Config) -> str:
    """The config's ``eval_precision``, 'float32' without one.

    Raises:
        ValueError: If it is not one of :data:`PRECISIONS`.
    """
    return _checked(cfg.get('eval_precision', 'float32'))


def usable_precision(precision: str, model: nn.Module) -> str:
    """The precision itself, or float16, with a notice, where the model's GPU has no bfloat16.

    Raises:
        ValueError: If it is not one of :data:`PRECISIONS`.
    """
    if _checked(precision) == 'bfloat16' and device_of(model).type == 'cuda' and not has_bfloat16():
        print_log('This GPU has no bfloat16: predictions in float16.', 'current')
        return 'float16'
    return precision


def _checked(precision: str) -> str:
    if precision not in PRECISIONS:
        raise ValueError(
            f'a precision (eval_precision) is one of {", ".join(PRECISIONS)}, got {precision!r}'
        )
    return precision


def autocast_to(precision: str, model: nn.Module) -> torch.autocast:
    """A context in which the model computes in one of :data:`PRECISIONS`, its weights unchanged."""
    mixed = precision != 'float32'
    return torch.autocast(device_of(model).type, getattr(torch, precision), enabled=mixed)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter is."""
    return next(model.parameters()).device


def predict_on_host(model: nn.Module) -> None:
    """Let a model's head predict on the host, from one copy a batch, and always in float32.

    ``head.predict`` of mmpretrain's multi-label heads, and of those that derive from them, decides
    image by image, for which the host waits each time. A ``predict`` of a head's own stays.
    The samples have ``pred_score``, ``pred_label`` and, if they had it, ``gt_score`` on the CPU.
    """
    head = getattr(model, 'head', None)
    if predicts_as_usual(head):
        head.predict = partial(_predict, head)


def predicts_as_usual(head: nn.Module | None) -> bool:
    """Whether a head's ``predict`` is mmpretrain's, perhaps with labels that are given."""
    usual = (MultiLabelClsHead.predict, TakesGivenLabels.predict)
    return getattr(type(head), 'predict', None) in usual


def _predict(
    head: MultiLabelClsHead, feats: tuple[Tensor, ...], data_samples: list[DataSample] | None = None
) -> list[DataSample]:
    """``head.predict`` of one copy to the host."""
    logits = float32_logits(head, feats, data_samples)
    return head._get_predictions(*on_host(logits, data_samples))


def on_host(
    scores: Tensor, data_samples: list[DataSample] | None
) -> tuple[Tensor, list[DataSample]]:
    """Scores or logits (B, C), and the ``gt_score`` of their samples, from one copy to the CPU.

    Without samples, B empty ones are returned.
    """
    if not data_samples:
        return scores.cpu(), [DataSample() for _ in scores]
    if not all('gt_score' in sample for sample in data_samples):
        return scores.cpu(), data_samples
    target = torch.stack([sample.gt_score for sample in data_samples])
    scores, host = torch.stack([scores, target.to(scores.dtype)]).cpu()
    for sample, row in zip(data_samples, host.to(target.dtype)):
        sample.set_gt_score(row)
    return scores, data_samples


def float32_logits(
    head: MultiLabelClsHead,
    feats: tuple[Tensor, ...],
    data_samples: list[DataSample] | None = None,
) -> Tensor:
    """Logits (B, C), in at least float32, with the labels that the samples give.

    The heads of this toolkit and its methods choose themselves what half precision serves; those
    of mmpretrain are small, and would round every logit to eight bits.
    """
    if isinstance(head, TakesGivenLabels):
        logits = head(feats, given_labels(data_samples, feats[-1].device))
    elif isinstance(head, TrainingParts):
        logits = head(feats)
    else:
        with torch.autocast(feats[-1].device.type, enabled=False):
            logits = head(tuple(map(at_least_float32, feats)))
    return at_least_float32(logits)


def prepare_for(precision: str, model: BaseModel) -> BaseModel:
    """Make a model fast in a lowered precision; in float32 it stays as it is.

    On CUDA the channels are last where the backbone is of plain convolutions.
    """
    on_cuda = device_of(model).type == 'cuda'
    if precision != 'float32' and on_cuda and type(model.backbone).__name__ in RESNETS:
        model = model.to(memory_format=torch.channels_last)
    return model
