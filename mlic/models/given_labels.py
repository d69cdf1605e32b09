"""The seam for labels that are known of an image before it is predicted.

A head that can use them is told, image by image; the tools know no method. They are called *given*
here, since *known* labels are those that somebody looked at (:mod:`mlic.models.targets`).

Shapes in this module: B images, C classes.
"""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.models.targets import host_copy, target_of, to_device, with_host_copy
from mlic.models.training_parts import TrainingParts


class TakesGivenLabels(TrainingParts):
    """Mixin of a multi-label head whose ``forward(feats, given=None)`` can use given labels.

    ``given`` is (B, C), 1 present, 0 absent, NaN not given; None if none is given in any image.
    Its loss asks :meth:`give_some` which labels training gives.

    Attributes:
        known_labels (float, optional): The largest share of an image's labels that training gives.
            None: as it was built, the head can use none.

    Example:
        >>> import torch
        >>> from mlic.models import TakesGivenLabels
        >>> mixin = TakesGivenLabels()
        >>> mixin.known_labels = 1.0
        >>> given, others = mixin.give_some(torch.eye(4))
        >>> torch.equal(given.isnan(), ~others.isnan())  # what is given has no loss
        True
    """

    known_labels: float | None = None

    @property
    def takes_given(self) -> bool:
        """Whether it can use given labels."""
        return self.known_labels is not None

    def draw_given(self, target: Tensor) -> Tensor:
        r"""The target (B, C), NaN where a label is not given.

        Of the n labels of an image that are known in the data,
        :math:`k \sim U\{0, \dots, \lfloor p n \rfloor\}` with p = ``known_labels`` are given,
        chosen uniformly, as in C-Tran's label-mask training. torch's generator of the host draws
        them: other ones in each process, as dropout, and the same in a resumed run.
        """
        known = ~target.isnan()
        most = (self.known_labels * known.sum(1).double()).floor()
        draws = torch.rand(len(target), 1 + target.shape[1], dtype=torch.double)
        if draws.device != target.device:
            draws = to_device(draws, target.device)
        number = (draws[:, 0] * (most + 1)).floor()
        order = draws[:, 1:].masked_fill(~known, 2)  # known ones come first
        place = order.argsort(1).argsort(1)
        return target.masked_fill(place >= number[:, None], torch.nan)

    def give_some(self, target: Tensor) -> tuple[Tensor | None, Tensor]:
        """What training gives of a target (B, C), None if nothing ever, and the target without it.

        Both have NaN where they say nothing; the second is what the loss is of.
        """
        if not self.takes_given:
            return None, target
        host = host_copy(target)
        on_host = self.draw_given(host)
        given = to_device(on_host, target.device)
        others = target.masked_fill(~given.isnan(), torch.nan)
        return given, with_host_copy(others, host.masked_fill(~on_host.isnan(), torch.nan))

    def predict(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """mmpretrain's, with what the samples give."""
        given = given_labels(data_samples, feats[-1].device)
        return self._get_predictions(self(feats, given), data_samples)


def check_takes_given(model: nn.Module, what: str) -> None:
    """Refuse a model that cannot use given labels; ``what`` asks for it, in the message.

    Raises:
        ValueError: One line.
    """
    head = getattr(model, 'head', None)
    if not getattr(head, 'takes_given', False):
        raise ValueError(
            f'{what}: {type(head or model).__name__} cannot use known labels; the checkpoint of a '
            'CTranHead can, if it was trained with some of them known'
        )


def give_labels(sample: DataSample, given: Tensor) -> None:
    """Tell a data sample what is known: (C,), 1 present, 0 absent, NaN not."""
    sample.set_field(given, 'given_score', dtype=Tensor)


def given_labels(
    data_samples: Sequence[DataSample] | None, device: torch.device | str
) -> Tensor | None:
    """(B, C) of samples of which some have been told; None if none has."""
    rows = [sample.get('given_score') for sample in data_samples or ()]
    told = next((row for row in rows if row is not None), None)
    if told is None:
        return None
    nothing = torch.full_like(told, torch.nan)
    return to_device(torch.stack([nothing if row is None else row for row in rows]), device)


def give_true_labels(sample: DataSample, num_classes: int, hidden: Sequence[int]) -> None:
    """Give a sample its true labels but for ``hidden`` ones, and count them as unknown.

    What is unknown in the data is not given. An evaluation leaves out both
    (``gt_label_unknown``).
    """
    (given,) = target_of([sample], num_classes, torch.float32, torch.device('cpu'))
    given[list(hidden)] = torch.nan
    give_labels(sample, given)
    known = (~given.isnan()).nonzero().flatten().tolist()
    left_out = sorted({*sample.get('gt_label_unknown', ()), *known})
    sample.set_metainfo(dict(gt_label_unknown=left_out))
