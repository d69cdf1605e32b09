"""Backbones of timm, whose weights are fetched for training only.

Shapes in this module: B images, K channels, h x w cells, T = h w tokens after P others.
"""

import math
from types import SimpleNamespace

from mmpretrain.models.backbones.timm_backbone import TIMMBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.packages import require


def grid_of(model: nn.Module, number: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a timm model's tokens, for images of a size.

    They are what timm says, or else, as where later stages have larger cells, in the proportions
    of the images.
    """
    patches = getattr(model, 'patch_embed', None)
    if hasattr(patches, 'dynamic_feat_size'):
        grid = patches.dynamic_feat_size(size)
        if math.prod(grid) == number:
            return grid
    height = max(round(math.sqrt(number * size[0] / size[1])), 1)
    return height, number // height


@MODELS.register_module()
class LazyTIMMBackbone(TIMMBackbone):
    """mmpretrain's ``TIMMBackbone``, but it gives maps and fetches its weights as training starts.

    ``TIMMBackbone`` itself fetches them whenever it is built, to use a trained model, too.

    Args:
        model_name (str): timm's, with the tag of its weights: ``tresnet_l.miil_in1k_448``.
        pretrained (bool): Take timm's weights in :meth:`init_weights` (the Runner calls it before
            training). Defaults to True.
        frozen (bool): Train no weight of it. Defaults to False.
        norm_eval (bool): Keep the running statistics of BatchNorm while training.
            Defaults to True: small batches spoil them.
        init_cfg (dict, optional): mmengine's, where ``pretrained`` is False. Defaults to None.
        **settings: Those of ``timm.create_model``, and ``features_only`` and ``in_channels`` as in
            ``TIMMBackbone``.

    Raises:
        MissingPackageError: If timm is missing; names the extra to install.
        OSError: In :meth:`init_weights`, if the weights cannot be fetched; says how to give a file.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool = True,
        frozen: bool = False,
        norm_eval: bool = True,
        init_cfg: dict | None = None,
        **settings,
    ) -> None:
        require('timm', 'timm', type(self).__name__)
        super().__init__(model_name, pretrained=False, init_cfg=init_cfg, **settings)
        self.pretrained = pretrained
        self.frozen = frozen
        self.norm_eval = norm_eval
        self.settings = dict(model_name=model_name, **settings)
        if frozen:
            self.requires_grad_(False)

    def init_weights(self) -> None:
        """Load timm's weights, if ``pretrained``; those that ``init_cfg`` names, if not.

        Raises:
            OSError: If timm's are neither on this machine nor can be fetched.
        """
        if not self.pretrained:
            super().init_weights()
        elif not self.is_init:
            try:
                published = TIMMBackbone(pretrained=True, **self.settings)
            except OSError as error:
                raise OSError(
                    f"timm's weights of {self.settings['model_name']} are neither in the cache of "
                    'huggingface_hub nor could they be fetched; connect to the network or give a '
                    "file: backbone=dict(pretrained_cfg_overlay=dict(file='weights.safetensors'))"
                ) from error
            self.load_state_dict(published.state_dict())
            self.is_init = True

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) → maps (B, K, h, w), of a transformer's tokens (B, P + T, K), too."""
        return tuple(self._as_map(feat, inputs.shape[-2:]) for feat in super().forward(inputs))

    def _as_map(self, feat: Tensor, size: tuple[int, int]) -> Tensor:
        """A map of what timm's model gives for images of a size."""
        model = self.timm_model
        if feat.dim() == 3 and hasattr(model, 'num_prefix_tokens'):
            tokens = feat[:, model.num_prefix_tokens :].mT  # (B, K, T)
            grid = grid_of(model, tokens.shape[2], size)
            return tokens.unflatten(2, grid) if math.prod(grid) == tokens.shape[2] else feat
        if getattr(model, 'output_fmt', 'NCHW') == 'NHWC':
            return feat.permute(0, 3, 1, 2)
        return feat

    def train(self, mode: bool = True) -> 'LazyTIMMBackbone':
        """Training mode, with all in evaluation if ``frozen``, or BatchNorm if ``norm_eval``."""
        super().train(mode and not self.frozen)
        if self.training and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter in timm's groups, from 0, the stem; and the number of depths."""
        from timm.models import group_parameters

        named = [*self.timm_model.named_parameters(), ('head.weight', None)]  # of a classifier
        matcher = self.timm_model.group_matcher(coarse=False)
        model = SimpleNamespace(named_parameters=lambda: named)
        depths = group_parameters(model, matcher, reverse=True)
        last = depths['head.weight']
        return depths.get(param_name.removeprefix(f'{prefix}timm_model.'), last), last + 1
