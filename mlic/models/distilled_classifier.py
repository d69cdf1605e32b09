"""A classifier that learns from others: knowledge distillation for every method.

Shapes in this module: B images, C classes, P classes of a teacher.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mlic.dtypes import at_least_float32
from mlic.models.neck_loss_classifier import NeckLossClassifier
from mlic.models.training_parts import TrainingParts


class Teacher(NamedTuple):
    """A trained model, and which classes of the student it knows.

    Args:
        model (ImageClassifier): For prediction; its scores are (B, P).
        classes (Sequence[int]): P numbers of the student's classes, in the teacher's order.
        ensemble (str): Which teachers know all classes together.
    """

    model: ImageClassifier
    classes: Sequence[int]
    ensemble: str = ''


class Teachers(list):
    """Teachers, which copies of a student share."""

    def __deepcopy__(self, memo: dict) -> 'Teachers':
        return self


@MODELS.register_module()
class DistilledClassifier(TrainingParts, NeckLossClassifier):
    r"""A classifier with any neck and head that learns from trained models, too.

    With the logits s of the student and t of a teacher, in E ensembles of teachers each of which
    knows the classes P of a part (in CPSD, Xu et al., *Boosting Multi-Label Image Classification
    with Complementary Parallel Self-Distillation*, IJCAI 2022, there are two: of classes that occur
    together and of classes that do not):

    .. math::
        L = (1 - \alpha) L_{own} + \frac{\alpha}{E B} \sum_{teachers} \sum_{b, c \in P} (s - t)^2

    where all losses of the student are :math:`L_{own}`. (In the released code both are sums over
    the batch, B times as much, which Adam notices by weight decay and epsilon alone.) s is what the
    head predicts, for which it runs a second time, with its own dropout. Where a classifier itself
    belongs to a method, a class that extends both learns: ``class Student(DistilledClassifier,
    MCARClassifier)``.

    ``TeachersHook`` opens the teachers when a training starts, or resumes. They see the student's
    batch, with the same normalisation, and have no gradient. They are no part of the model: neither
    checkpoints nor averages have them, and a published model does not know of them.

    Args:
        *args: Of ``ImageClassifier``.
        distillation (dict, optional): Defaults to None: none. With the keys ``teachers``, see
            ``open_teachers``; ``alpha``, from 0 to 1, by default 0.5; ``kind``, 'mse', the default,
            or 'kl': :math:`T^2` times the divergence of the student's softmax over P from the
            teacher's, at the temperature T; ``temperature``, by default 4.
        **kwargs: Of ``ImageClassifier``.

    Raises:
        ValueError: If a setting is unknown or none of its values.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import DistilledClassifier
        >>> from projects.ml_gcn import MLGCNHead  # registers it
        >>> parts = dict(
        ...     backbone=dict(type='StoredFeatures'),
        ...     head=dict(type='MLGCNHead', num_classes=3, in_channels=8),
        ... )
        >>> student = DistilledClassifier(**parts, distillation=dict(alpha=0.5))
        >>> student.learn_from([(DistilledClassifier(**parts), [0, 1, 2])])  # as TeachersHook does
        >>> samples = [DataSample().set_gt_label([0]), DataSample().set_gt_label([1, 2])]
        >>> list(student.loss(torch.rand(2, 8, 7, 7), samples))
        ['loss_cls', 'loss_distillation']
    """

    off_in_prediction = ('distillation',)

    def __init__(self, *args, distillation: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        defaults = dict(teachers=(), alpha=0.5, kind='mse', temperature=4.0)
        unknown = sorted(set(distillation or {}) - set(defaults))
        if unknown:
            raise ValueError(f'distillation: unknown {unknown[0]}: use {", ".join(defaults)}')
        self.distillation = {**defaults, **distillation} if distillation else None
        if self.distillation:
            if self.distillation['kind'] not in ('mse', 'kl'):
                raise ValueError(
                    f"distillation.kind must be 'mse' or 'kl', got {self.distillation['kind']!r}"
                )
            if not 0 <= self.distillation['alpha'] <= 1:
                raise ValueError(
                    f'distillation.alpha must lie between 0 and 1, got {self.distillation["alpha"]}'
                )
        self.teachers = Teachers()  # no modules: see above

    def learn_from(self, teachers: Sequence[tuple]) -> None:
        """Take the arguments of each ``Teacher``; the model is frozen, in evaluation mode."""
        self.teachers[:] = [Teacher(*teacher) for teacher in teachers]
        for model, classes, _ in self.teachers:
            model.eval().requires_grad_(False)
            model.register_buffer('student_classes', torch.tensor(classes), persistent=False)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """The student's own losses, times 1 - alpha, and ``loss_distillation``.

        Raises:
            ValueError: If there are teachers to be opened, and nobody did.
        """
        settings = self.distillation
        if not settings:
            return super().loss(inputs, data_samples)
        if not self.teachers:
            raise ValueError(
                'the teachers are not open: add default_hooks=dict(teachers=dict('
                "type='TeachersHook')) to the config"
            )
        losses, feats = self.loss_and_feats(inputs, data_samples)
        if 'loss' in losses:  # mmpretrain's name for a head's only one, and mmengine's for the sum
            losses['loss_cls'] = losses.pop('loss')
        for name in losses:
            if 'loss' in name:
                losses[name] = losses[name] * (1 - settings['alpha'])
        losses['loss_distillation'] = settings['alpha'] * self._distance(inputs, self.head(feats))
        return losses

    def _distance(self, inputs: Tensor, student: Tensor) -> Tensor:
        """Of the student's logits (B, C) from all teachers', a mean over images and ensembles."""
        settings = self.distillation
        student = at_least_float32(student)
        ensembles = {teacher.ensemble for teacher in self.teachers}
        total = student.new_zeros(())
        for teacher in self.teachers:
            model = teacher.model
            if model.student_classes.device != inputs.device:
                model.to(inputs.device)
            own = student[:, model.student_classes]  # (B, P)
            with torch.no_grad():
                logits = model(inputs, mode='tensor').to(own.dtype)
            total = total + distance(own, logits, settings['kind'], settings['temperature'])
        return total / len(ensembles) / len(inputs)


def distance(student: Tensor, teacher: Tensor, kind: str, temperature: float) -> Tensor:
    """A scalar, the sum over the images, of logits (B, P): see ``DistilledClassifier``."""
    if kind == 'mse':
        return (student - teacher).square().sum()
    soft, hard = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(soft, hard, reduction='sum', log_target=True)
