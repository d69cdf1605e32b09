"""The classifier of methods whose neck is shown the labels that it is trained with."""

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor


@MODELS.register_module()
class NeckLossClassifier(ImageClassifier):
    """mmpretrain's ``ImageClassifier``, whose neck sees the labels in training and has losses.

    ``neck.loss(feats, data_samples)`` takes what the backbone gives and returns what the head takes
    and a dict of losses, which are added to the head's. Prediction calls the neck as usual. So such
    a neck works under every head. Without such a method it is an ``ImageClassifier``.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mlic.models import NeckLossClassifier
        >>> from projects.salgl import SALGLNeck  # registers it
        >>> model = NeckLossClassifier(
        ...     backbone=dict(type='StoredFeatures'),
        ...     neck=dict(type='SALGLNeck', in_channels=16, num_classes=3, embed_dims=16),
        ...     head=dict(type='LabelEmbedHead', num_classes=3, in_channels=16),
        ... )
        >>> samples = [DataSample().set_gt_label([0]), DataSample().set_gt_label([1, 2])]
        >>> list(model.loss(torch.rand(2, 16, 7, 7), samples))
        ['loss_cls', 'loss_sample_entropy', 'loss_batch_entropy']
    """

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """The losses of neck and head, of images (B, 3, H, W) and their B samples with labels.

        Raises:
            ValueError: If both have a loss of the same name.
        """
        return self.loss_and_feats(inputs, data_samples)[0]

    def loss_and_feats(
        self, inputs: Tensor, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """:meth:`loss`, and what the head took.

        Raises:
            ValueError: If a loss of both has the same name.
        """
        if not hasattr(self.neck, 'loss'):
            feats = self.extract_feat(inputs)
            return self.head.loss(feats, data_samples), feats
        feats, of_neck = self.neck.loss(self.extract_feat(inputs, stage='backbone'), data_samples)
        of_head = self.head.loss(feats, data_samples)
        both = of_neck.keys() & of_head.keys()
        if both:
            raise ValueError(
                f'{", ".join(sorted(both))}: a loss of {type(self.neck).__name__} and of '
                f'{type(self.head).__name__}: give one of them another name'
            )
        return {**of_head, **of_neck}, feats
