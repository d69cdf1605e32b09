"""SARL: one embedding per class from the backbone's features.

Shapes in this module: B images, C classes, K input channels, D embed dims, h x w feature cells,
T tokens: h * w, and with several feature maps the sum of theirs.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlic.models.checks import check_counts
from mlic.models.layers.feature_map import as_feature_map
from mlic.models.layers.position_encoding import sine_position_encoding
from mlic.models.layers.post_norm import DecoderLayer, EncoderLayer
from mlic.models.training_parts import TrainingParts


@MODELS.register_module()
class SARLNeck(TrainingParts, BaseModule):
    """Semantic-aware representation learning of SADCL (ECAI 2023), Query2Label's transformer.

    Learned class queries attend to the feature map; the decoder's output is one embedding per
    class. Post-norm layers, ReLU, sine positions added to queries and keys of the features,
    class queries added to the query only, no self-attention between the classes.

    Args:
        in_channels (int | Sequence[int]): K, channels of the backbone's last feature map; or of
            its last few, in the backbone's order, to attend to all of them.
        num_classes (int): C.
        embed_dims (int): D, the width of the transformer; even, a multiple of ``num_heads``.
            Defaults to 2048.
        num_heads (int): Defaults to 4.
        feedforward_channels (int): Hidden width of each feed-forward block. Defaults to 8192.
        num_encoder_layers (int): 0 gives the paper's SARL* (no encoder). Defaults to 1.
        num_decoder_layers (int): At least 1. Defaults to 2.
        dropout (float): Probability, of attention weights and after each block. Defaults to 0.1.
        with_cp (bool): Keep the layers' inputs only and compute the rest again on the way back:
            less memory for more time, the same result. Defaults to False.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Raises:
        ValueError: If D is odd, the heads do not share it out, there is no decoder layer, or
            ``in_channels`` is empty.

    A 1x1 convolution ``input_proj`` maps K to D channels; it is the identity when K = D. With
    several feature maps each has its own, and a learned vector ``level_embed``, which is added
    to the sine positions of its own grid; their tokens stand one map after the other.

    A transformer's tokens (B, T, K) stand for a map too, row by row over a square grid; a class
    token before them, (B, 1 + T, K), is dropped.

    Example:
        >>> import torch
        >>> from projects.sadcl.models import SARLNeck
        >>> neck = SARLNeck(in_channels=16, num_classes=3, embed_dims=8, feedforward_channels=16)
        >>> [label_embeds] = neck((torch.rand(2, 16, 7, 7),))
        >>> label_embeds.shape
        torch.Size([2, 3, 8])
    """

    by_class = {'query_embed.weight': (0,)}

    def __init__(
        self,
        in_channels: int | Sequence[int],
        num_classes: int,
        embed_dims: int = 2048,
        num_heads: int = 4,
        feedforward_channels: int = 8192,
        num_encoder_layers: int = 1,
        num_decoder_layers: int = 2,
        dropout: float = 0.1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if embed_dims % 2:
            raise ValueError(f'embed_dims must be even, got {embed_dims}')
        check_counts(num_decoder_layers=num_decoder_layers)
        channels = (in_channels,) if isinstance(in_channels, int) else tuple(in_channels)
        if not channels:
            raise ValueError(f'in_channels must name at least one feature map, got {in_channels}')
        self.in_channels = channels[0] if len(channels) == 1 else channels
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.with_cp = with_cp
        self._positions: dict[tuple, Tensor] = {}
        layer = embed_dims, num_heads, feedforward_channels, dropout
        projections = [
            nn.Identity() if width == embed_dims else nn.Conv2d(width, embed_dims, 1)
            for width in channels
        ]
        self.input_proj = projections[0] if len(channels) == 1 else nn.ModuleList(projections)
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(embed_dims)
        self.query_embed = nn.Embedding(num_classes, embed_dims)
        self.level_embed = nn.Embedding(len(channels), embed_dims) if len(channels) > 1 else None
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Embed each class in each image.

        Args:
            feats (tuple[Tensor]): Feature maps (B, K, h, w) or tokens (B, T, K), (B, 1 + T, K);
                the last is used, or the last few, one for each of ``in_channels``.

        Returns:
            tuple[Tensor]: One item, ``label_embeds`` (B, C, D).

        Raises:
            ValueError: If there are too few, their channels are not ``in_channels``, or tokens
                fill no square grid.
        """
        label_embeds, _ = self._decode(self._feature_maps(feats), need_weights=False)
        return (label_embeds,)

    def attention_maps(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Where each class looks: attention of the last decoder layer, averaged over heads.

        Args:
            feats (tuple[Tensor]): As in :meth:`forward`.

        Returns:
            Tensor: (B, C, h, w); each map sums to 1 (in evaluation mode). With several feature
            maps it is the attention to the first, the finest: its sum is the share of the
            attention that this map gets, and the other maps get the rest.
        """
        feature_maps = self._feature_maps(feats)
        height, width = feature_maps[0].shape[-2:]
        _, attention = self._decode(feature_maps, need_weights=True)
        return attention[..., : height * width].unflatten(-1, (height, width))

    def _feature_maps(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        """The maps (B, K, h, w) that are used, one for each of ``in_channels``."""
        channels = (self.in_channels,) if isinstance(self.in_channels, int) else self.in_channels
        owner = f'SARLNeck(in_channels={self.in_channels})'
        if len(feats) < len(channels):
            raise ValueError(
                f'{owner} takes {len(channels)} feature maps, got {len(feats)}; set the '
                "config's backbone.out_indices to as many stages"
            )
        used = zip(feats[-len(channels) :], channels)
        return [as_feature_map(feat, self, width) for feat, width in used]

    def _decode(
        self, feature_maps: list[Tensor], need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Label embeddings (B, C, D), and the last attention (B, C, T) if asked for."""
        memory, pos = self._encode(feature_maps)
        query_pos = self.query_embed.weight[None]  # (1, C, D)
        # the same for every image until the first layer has looked at the features
        label_embeds, attention = torch.zeros_like(query_pos), None
        for layer in self.decoder:
            wanted = need_weights and layer is self.decoder[-1]
            inputs = label_embeds, query_pos, memory, pos, wanted
            label_embeds, attention = self._run(layer, *inputs)
        return self.decoder_norm(label_embeds), attention

    def _encode(self, feature_maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D) and their positions (1, T, D)."""
        if self.level_embed is None:
            memory, pos = self._embed(feature_maps[0], self.input_proj)
        else:
            levels = [self._embed(*level) for level in zip(feature_maps, self.input_proj)]
            memory = torch.cat([tokens for tokens, _ in levels], dim=1)
            pos = torch.cat(
                [pos + embed for (_, pos), embed in zip(levels, self.level_embed.weight)], dim=1
            )
        for layer in self.encoder:
            memory = self._run(layer, memory, pos)
        return memory, pos

    def _embed(self, feature_map: Tensor, input_proj: nn.Module) -> tuple[Tensor, Tensor]:
        """Tokens (B, h * w, D) of one map, and their positions (1, h * w, D)."""
        projected = input_proj(feature_map)  # (B, D, h, w)
        tokens = projected.flatten(2).transpose(1, 2)
        return tokens, self._position_encoding(*projected.shape[-2:], tokens)

    def _run(self, layer: nn.Module, *inputs):
        """Call a layer, keeping its inputs only if ``with_cp``."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def _position_encoding(self, height: int, width: int, like: Tensor) -> Tensor:
        """Positions (1, T, D) in the dtype of the tokens; made once for each size."""
        key = (height, width, like.dtype, like.device)
        keeps = not torch.compiler.is_compiling()  # a graph depends on no dictionary
        if keeps and key in self._positions:
            return self._positions[key]
        pos = sine_position_encoding(height, width, self.embed_dims, like.device)
        pos = pos.flatten(1).T[None].to(like.dtype)
        if keeps and type(pos) is Tensor:  # no tracer's stand-in
            self._positions[key] = pos
        return pos
