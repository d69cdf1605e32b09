"""C-Tran: the cells of an image and the labels, some of them known, in one transformer.

Shapes in this module: B images, C classes, K input channels, D embed dims, N = h x w cells.
"""

import math

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.models.checks import check_counts
from mlic.models.given_labels import TakesGivenLabels
from mlic.models.heads.known_label_head import KnownLabelHead
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.group_linear import GroupLinear
from mlic.models.layers.post_norm import EncoderLayer
from mlic.models.losses.known_labels import loss_of_known
from mlic.models.targets import is_present


@MODELS.register_module()
class CTranHead(TakesGivenLabels, KnownLabelHead):
    r"""Head of C-Tran (Lanchantin et al., *General Multi-label Image Classification with
    Transformers*, CVPR 2021).

    The N cells, without positions, and a token for each label go through a layer normalisation and
    post-norm encoder layers; a label's token is its embedding and that of its state: unknown,
    absent or present. Each label's score is a linear map of what becomes of its token.

    Training gives some of an image's labels, drawn by ``draw_given``, and the loss is that of the
    others, U_b:

    .. math::
        L = \frac{1}{B} \sum_b \sum_{c \in U_b} \ell(s_{bc}, y_{bc})

    the mean over processes and accumulated steps. The released code has the sum over a batch of B
    images: ``loss_weight=B``. Its embedding of the state unknown never gets a gradient: here it is
    a random and fixed buffer.

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        embed_dims (int, optional): D; if it is not K, a 1x1 convolution leads there. Defaults to
            None: K, as published.
        num_layers (int): Defaults to 3.
        num_heads (int): Defaults to 4.
        feedforward_channels (int, optional): Hidden width of the layers' feed-forward nets.
            Defaults to None: D, as published.
        dropout (float): In the layers. Defaults to 0.1.
        known_labels (float, optional): The largest share of an image's labels that training gives.
            None: the tokens have no state, none can be given, and the loss is that of all labels
            (the released code without ``--use_lmt``). Defaults to 0.75.
        prior_prob (float, optional): See ``GroupLinear``. Defaults to None.
        loss (dict, optional): Loss of logits and a multi-hot target. Defaults to None: binary
            cross-entropy, summed over the classes.
        thr, topk, init_cfg: See ``KnownLabelHead``.

    Raises:
        ValueError: If there is no layer, the heads do not share out D, ``known_labels`` is no
            share, or the loss makes something of unknown labels while training gives some.

    Example:
        >>> import torch
        >>> from projects.c_tran import CTranHead
        >>> head = CTranHead(num_classes=4, in_channels=16).eval()
        >>> feats = (torch.rand(1, 16, 7, 7),)
        >>> given = torch.tensor([[1.0, 0.0, torch.nan, torch.nan]])  # two are given
        >>> head(feats, given).shape
        torch.Size([1, 4])
    """

    constant_buffers = ('unknown_state',)
    by_class = dict(label_embed=(0,), unknown_state=(), known_states=())

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        embed_dims: int | None = None,
        num_layers: int = 3,
        num_heads: int = 4,
        feedforward_channels: int | None = None,
        dropout: float = 0.1,
        known_labels: float | None = 0.75,
        prior_prob: float | None = None,
        loss: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        loss = loss or dict(type='MultiLabelSoftMarginLoss', mean_over_classes=False)
        super().__init__(num_classes, loss, thr, topk, init_cfg)
        embed_dims = embed_dims or in_channels
        check_counts(num_layers=num_layers)
        if known_labels is not None and not 0 <= known_labels <= 1:
            raise ValueError(f'known_labels is a share from 0 to 1, or None, got {known_labels}')
        if known_labels and getattr(self.loss_module, 'takes_unknown', False):
            raise ValueError(
                f'{type(self.loss_module).__name__} would take the labels that training gives for '
                'unknown ones: set known_labels=0, or another loss'
            )
        self.in_channels = in_channels
        self.known_labels = known_labels
        self.input_proj = (
            nn.Identity() if embed_dims == in_channels else nn.Conv2d(in_channels, embed_dims, 1)
        )
        bound = 1 / math.sqrt(embed_dims)
        self.label_embed = nn.Parameter(
            torch.empty(num_classes, embed_dims).uniform_(-bound, bound)
        )
        if self.takes_given:
            states = torch.empty(3, embed_dims).uniform_(-bound, bound)
            self.register_buffer('unknown_state', states[0].clone())
            self.known_states = nn.Parameter(states[1:].clone())  # (2, D): absent, present
        self.norm = nn.LayerNorm(embed_dims)
        layer = embed_dims, num_heads, feedforward_channels or embed_dims, dropout
        self.layers = nn.ModuleList(EncoderLayer(*layer) for _ in range(num_layers))
        for layer in self.layers:
            nn.init.uniform_(layer.attn.out_proj.bias, -bound, bound)
        self.fc = GroupLinear(num_classes, embed_dims, prior_prob)

    def forward(self, feats: tuple[Tensor, ...], given: Tensor | None = None) -> Tensor:
        """Logits (B, C).

        Args:
            feats (tuple[Tensor]): The last is a feature map (B, K, h, w) or tokens (B, T, K).
            given (Tensor, optional): (B, C), 1 present, 0 absent, NaN not given. Defaults to None:
                none is given.

        Raises:
            ValueError: If the map has other channels, or labels are given to a head without states.
        """
        tokens, _ = self._tokens(feats, given)
        labels = tokens[:, -self.num_classes :]
        attended, _ = self.layers[-1].attn(labels, tokens, tokens)
        return self.fc(self.layers[-1].add_and_norm(labels, attended))

    def attention_maps(self, feats: tuple[Tensor, ...], given: Tensor | None = None) -> Tensor:
        """Attention of the labels to the cells in the last layer, averaged over heads.

        Args:
            feats, given: As of :meth:`forward`.

        Returns:
            Tensor: (B, C, h, w); the rest to a sum of 1 goes to the labels (in evaluation mode).
        """
        tokens, (height, width) = self._tokens(feats, given)
        labels = tokens[:, -self.num_classes :]
        _, attention = self.layers[-1].attn(labels, tokens, tokens, need_weights=True)
        return attention[..., : height * width].unflatten(-1, (height, width))

    def _tokens(
        self, feats: tuple[Tensor, ...], given: Tensor | None
    ) -> tuple[Tensor, tuple[int, int]]:
        """What the last layer sees, (B, N + C, D), and h and w; only labels are read after it."""
        feature_map = as_feature_map(self.pre_logits(feats), self)
        if given is not None and not self.takes_given:
            raise ValueError('CTranHead(known_labels=None) has no states for given labels')
        cells = self.input_proj(feature_map).flatten(2).mT  # (B, N, D)
        labels = self.label_embed  # (C, D)
        if given is not None:
            states = torch.cat([self.unknown_state[None], self.known_states])
            state = torch.where(given.isnan(), 0, 1 + is_present(given).long())  # (B, C)
            labels = labels + states[state]  # (B, C, D)
        elif self.takes_given:
            labels = labels + self.unknown_state
        labels = labels.expand(feature_map.shape[0], -1, -1)
        tokens = self.norm(torch.cat([cells.to(labels.dtype), labels], dim=1))
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        return tokens, feature_map.shape[-2:]

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls`` of B samples with ``gt_score`` (C,) or ``gt_label``.

        Soft targets, as Mixup and CutMix make them, go to ``loss`` as they are, and are given as
        present or absent.
        """
        given, target = self.give_some(self.target_of(data_samples, feats[-1]))
        return dict(loss_cls=loss_of_known(self.loss_module, self(feats, given), target))
