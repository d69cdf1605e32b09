"""CCD: the mean features of the classes that an image's context suggests are taken out of it.

Shapes in this module: B images, C classes, K channels.
"""

from collections.abc import Mapping

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.models.heads.multi_score_head import MultiScoreHead
from mlic.models.layers.cosine_classifier import CosineClassifier
from mlic.models.layers.feature_map import as_feature_map

CLASSIFICATION = dict(type='StopGradAsymmetricLoss', gamma_pos=1.0, gamma_neg=1.0, eps=1e-8)
CLASSIFICATION.update(mean_over_classes=True, loss_weight=1000.0)


@MODELS.register_module()
class CCDHead(MultiScoreHead):
    r"""Head of CCD (Liu et al., *Contextual Debiasing for Visual Recognition with Causal
    Mechanisms*, CVPR 2022), as the first author of SADCL re-implemented it; the authors released
    no code.

    With m the mean and f the largest value of each channel of the feature map, M the mean of m over
    the training images of each class and cos a :class:`CosineClassifier`, the logits of the first
    stage and of the second are

    .. math::
        s_1 = \cos_1(m), \quad s_2 = \cos_2(f - r), \quad c = \mathrm{softmax}(s_1)\, M

    where r is, by ``fusion``:

    - 'selector': :math:`\tanh(L f) \circ c`, with L a linear layer;
    - 'none': c;
    - 'mlp': N(c), with N two linear layers with ReLU between them;
    - 'concat': N([f; c]).

    Both are computed in both stages, and ``second_stage``, in the checkpoint, says which one
    counts. ``ContextMemoryHook`` starts the second. Prediction needs the memory M, which is in the
    checkpoint, too.

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        fusion (str): See above. Defaults to 'selector'.
        cosine (dict, optional): Arguments of :class:`CosineClassifier`. Defaults to None.
        loss_weights (Mapping[str, float], optional): See :class:`MultiScoreHead`; the scores are
            'context' (s_1) and 'debiased' (s_2). Defaults to None.
        loss_cls (dict): Loss of logits and a multi-hot target. Defaults to the published one,
            asymmetric with both gammas 1, 1000 times the mean over classes.
        thr, topk, init_cfg: See :class:`MultiScoreHead`.

    Raises:
        ValueError: If ``fusion`` is none of these.

    Example:
        >>> import torch
        >>> from projects.ccd import CCDHead
        >>> CCDHead(num_classes=3, in_channels=16)((torch.rand(2, 16, 7, 7),)).shape
        torch.Size([2, 3])
    """

    constant_buffers = ('memory', 'second_stage')
    by_class = {'memory': (0,), 'context_fc.weight': (0,), 'logit_fc.weight': (0,)}

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        fusion: str = 'selector',
        cosine: dict | None = None,
        loss_weights: Mapping[str, float] | None = None,
        loss_cls: dict = CLASSIFICATION,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, loss_weights, loss_cls, thr, topk, init_cfg)
        if fusion not in ('none', 'selector', 'mlp', 'concat'):
            raise ValueError(f"fusion is 'none', 'selector', 'mlp' or 'concat', got {fusion!r}")
        self.in_channels = in_channels
        self.fusion = fusion
        self.context_fc = CosineClassifier(num_classes, in_channels, **(cosine or {}))
        self.logit_fc = CosineClassifier(num_classes, in_channels, **(cosine or {}))
        self.selector = nn.Linear(in_channels, in_channels) if fusion == 'selector' else None
        if fusion in ('mlp', 'concat'):
            inputs = (1 + (fusion == 'concat')) * in_channels
            layers = nn.Linear(inputs, in_channels), nn.ReLU(), nn.Linear(in_channels, in_channels)
            self.selector = nn.Sequential(*layers)
        self.register_buffer('memory', torch.zeros(num_classes, in_channels))
        self.register_buffer('second_stage', torch.tensor(False))

    def mean_feature(self, feats: tuple[Tensor, ...]) -> Tensor:
        """m (B, K) of the last feature map, (B, K, h, w) or tokens (B, T, K)."""
        return self._feature_map(feats).mean((2, 3))

    def scores(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Both logits (B, C), of the last feature map, (B, K, h, w) or tokens (B, T, K).

        Raises:
            ValueError: If the map has other channels.
        """
        largest = self._feature_map(feats).amax((2, 3))
        context_score = self.context_fc(self.mean_feature(feats))
        context = context_score.softmax(1) @ self.memory  # (B, K)
        debiased = self.logit_fc(largest - self._taken_out(largest, context))
        return dict(context=context_score, debiased=debiased)

    def fuse(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The logits of the stage; the other's parameters get a gradient of zero."""
        return torch.where(self.second_stage, scores['debiased'], scores['context'])

    @torch.no_grad()
    def start_second_stage(self, memory: Tensor) -> None:
        """Take M (C, K); what the first stage did not train is drawn anew."""
        self.memory.copy_(memory)
        self.second_stage.fill_(True)
        for name, layer in self.named_modules():
            if name.startswith(('logit_fc', 'selector')) and hasattr(layer, 'reset_parameters'):
                layer.reset_parameters()

    def _feature_map(self, feats: tuple[Tensor, ...]) -> Tensor:
        """(B, K, h, w)."""
        return as_feature_map(self.pre_logits(feats), self)

    def _taken_out(self, largest: Tensor, context: Tensor) -> Tensor:
        """r of f and c, all (B, K)."""
        if self.fusion == 'none':
            return context
        if self.fusion == 'selector':
            return self.selector(largest).tanh() * context
        if self.fusion == 'mlp':
            return self.selector(context)
        return self.selector(torch.cat([largest, context], dim=1))
