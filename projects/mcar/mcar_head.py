"""MCAR's scores of an image and of its regions.

Shapes in this module: B images, C classes, K channels, h x w feature cells, R regions.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.dtypes import raised
from mlic.models.checks import check_counts
from mlic.models.heads.multi_score_head import MultiScoreHead
from mlic.models.layers.activated_regions import boxes_of
from mlic.models.layers.feature_map import as_feature_map

POOLINGS = dict(
    avg=lambda cells: cells.mean(-1),
    max=lambda cells: cells.amax(-1),
    gwp=lambda cells: (cells.mean(-1) + cells.amax(-1)) / 2,
)


@MODELS.register_module()
class MCARHead(MultiScoreHead):
    r"""Head of MCAR (Gao and Zhou, *Learning to Discover Multi-Class Attentional Regions for
    Multi-Label Image Recognition*, TIP 2021), in an ``MCARClassifier``.

    One linear map gives the logits of the pooled image, ``global``, and of each of its regions;
    ``local`` is the largest of these, class by class. Both have a loss, and the larger is
    predicted: the published :math:`\max(\sigma(g), \sigma(l)) = \sigma(\max(g, l))`.

    Args:
        num_classes (int): C.
        in_channels (int): K.
        num_regions (int): R, at most C: of the classes with the largest ``global``. Defaults to 4.
        threshold (float): Of a region, see ``intervals``. Defaults to 0.5.
        pooling (str): Over the cells of a map. 'avg', 'max' or 'gwp', the mean of both. Defaults
            to 'avg'.
        loss_weights (Mapping[str, float], optional): See ``MultiScoreHead``. Defaults to None:
            1 for 'global' and 'local'.
        loss_cls, thr, topk, init_cfg: See ``MultiScoreHead``.

    Raises:
        ValueError: If ``pooling`` is another word, or there is no region.

    Example:
        >>> import torch
        >>> from projects.mcar import MCARHead
        >>> head = MCARHead(num_classes=3, in_channels=16)
        >>> head.attention_maps((torch.rand(2, 16, 7, 7),)).shape
        torch.Size([2, 3, 7, 7])
    """

    by_class = {'fc.weight': (0,), 'fc.bias': (0,)}

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_regions: int = 4,
        threshold: float = 0.5,
        pooling: str = 'avg',
        loss_weights: Mapping[str, float] | None = None,
        loss_cls: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        loss_weights = loss_weights or {'global': 1.0, 'local': 1.0}
        super().__init__(num_classes, loss_weights, loss_cls, thr, topk, init_cfg)
        if pooling not in POOLINGS:
            raise ValueError(f'pooling must be one of {", ".join(POOLINGS)}, got {pooling!r}')
        check_counts(num_regions=num_regions)
        self.in_channels, self.num_regions = in_channels, min(num_regions, num_classes)
        self.threshold, self.pooling = threshold, pooling
        self.fc = nn.Conv2d(in_channels, num_classes, 1)

    def scores(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Logits (B, C) of 'global' and 'local', in at least float32, of ``MCARClassifier``'s
        features: the last two are the maps of the regions, (B, R, K, h, w), and of the image.

        Raises:
            ValueError: If the regions are missing or the channels are others.
        """
        if len(feats) < 2 or feats[-2].dim() != 5:
            missing = "MCARHead takes the maps of an image's regions, too: set the config's "
            raise ValueError(f"{missing}model.type to 'MCARClassifier'")
        regions = self._logits(feats[-2].flatten(0, 1)).unflatten(0, feats[-2].shape[:2])
        return {'global': self._logits(self.feature_map(feats)), 'local': regions.amax(1)}

    def fuse(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The larger of both, (B, C)."""
        return torch.maximum(scores['global'], scores['local'])

    def feature_map(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last map, (B, K, h, w)."""
        return as_feature_map(feats[-1], self)

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Probability of each class in each cell of the image, (B, C, h, w), which sums to no 1."""
        return self._score(self.feature_map(feats)).sigmoid()

    @torch.no_grad()
    def locate(self, feats: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """Boxes (B, R, 4), int64, x1, x2, y1, y2, in images of a size (H, W)."""
        classes = self._logits(self.feature_map(feats)).topk(self.num_regions).indices  # (B, R)
        maps = self.attention_maps(feats)
        maps = maps.take_along_dim(classes[..., None, None], dim=1)
        maps = F.interpolate(maps, size, mode='bilinear', align_corners=True)
        return boxes_of(maps, self.threshold)

    def _logits(self, maps: Tensor) -> Tensor:
        """(B, K, h, w) → (B, C)."""
        return self._score(POOLINGS[self.pooling](maps.flatten(2))[..., None, None]).flatten(1)

    def _score(self, maps: Tensor) -> Tensor:
        """(B, K, h, w) → (B, C, h, w), in at least float32: rounding would move the boxes."""
        with torch.autocast(maps.device.type, enabled=False):
            dtype = raised(maps.dtype)
            return F.conv2d(maps.to(dtype), self.fc.weight.to(dtype), self.fc.bias.to(dtype))
