"""A classifier that looks twice: at the image, and at the regions where its classes seem to be.

Shapes in this module: B images, K channels, h x w feature cells, R regions.
"""

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.models.backbones.stored_features import StoredFeatures
from mlic.models.layers.activated_regions import crops_of
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class MCARClassifier(TrainingParts, ImageClassifier):
    """mmpretrain's ``ImageClassifier`` with any backbone and an ``MCARHead``.

    The backbone sees B images, then B * R crops of them at the images' size, all at once; in
    training both count for batch norm's statistics, as in the released code.

    Its arguments are ``ImageClassifier``'s.

    Raises:
        ValueError: If the backbone is stored features.

    Example:
        >>> import torch
        >>> from projects.mcar import MCARClassifier
        >>> model = MCARClassifier(
        ...     backbone=dict(type='EfficientNetLite', pretrained=False),
        ...     head=dict(type='MCARHead', num_classes=3, in_channels=1280, num_regions=2),
        ... )
        >>> model.eval()(torch.rand(1, 3, 64, 64), mode='tensor').shape
        torch.Size([1, 3])
    """

    not_exported = (
        'it looks again at the regions that its first look finds, and the rounding of another '
        'runtime finds others'
    )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.backbone, StoredFeatures):
            raise ValueError(
                'MCARClassifier looks at crops of the image, of which there are no stored '
                'features: train with the backbone'
            )

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor, ...]:
        """Features as ``ImageClassifier`` gives them; for the head, with those of the regions."""
        feats = super().extract_feat(inputs, stage)
        return feats if stage == 'backbone' else self.look_again(inputs, feats)

    def look_again(self, inputs: Tensor, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the head takes: with the regions' maps (B, R, K, h, w) before the image's."""
        boxes = self.head.locate(feats, inputs.shape[-2:])
        with torch.no_grad():
            crops = crops_of(inputs, boxes)
        regions = self.head.feature_map(super().extract_feat(crops))
        return *feats[:-1], regions.unflatten(0, boxes.shape[:2]), feats[-1]
