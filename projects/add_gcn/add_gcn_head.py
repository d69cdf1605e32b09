"""ADD-GCN's scores. Shapes in this module: B images, C classes, D embed dims."""

from collections.abc import Mapping

from mmpretrain.registry import MODELS
from torch import Tensor

from mlic.models.heads.multi_score_head import MultiScoreHead
from mlic.models.layers.group_linear import GroupLinear


@MODELS.register_module()
class ADDGCNHead(MultiScoreHead):
    """Mean of the scores by activation and by label embedding (Ye et al., ECCV 2020).

    As published, only the mean has a loss; ``loss_weights`` can give one to each of the two.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the label embeddings. Defaults to 1024.
        loss_weights, loss_cls, thr, topk, init_cfg: See ``MultiScoreHead``; the scores are
            'activation' and 'graph'.

    Example:
        >>> import torch
        >>> from projects.add_gcn import ADDGCNHead, ADDGCNNeck
        >>> neck = ADDGCNNeck(in_channels=16, num_classes=3, embed_dims=8)
        >>> head = ADDGCNHead(num_classes=3, in_channels=8)
        >>> head(neck((torch.rand(2, 16, 7, 7),))).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        loss_weights: Mapping[str, float] | None = None,
        loss_cls: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss_weights, loss_cls, thr, topk, init_cfg)
        self.fc = GroupLinear(num_classes, in_channels)

    def scores(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Of ADDGCNNeck's (B, C) and (B, C, D), two logits (B, C)."""
        activation, label_embeds = feats
        return dict(activation=activation, graph=self.fc(label_embeds))

    def fuse(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The mean (B, C)."""
        return (scores['activation'] + scores['graph']) / 2
