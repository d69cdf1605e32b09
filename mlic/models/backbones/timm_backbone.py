"""Backbones of timm, whose weights are fetched for training only."""

from mmpretrain.models.backbones.timm_backbone import TIMMBackbone
from mmpretrain.registry import MODELS
from torch import nn

from mlic.packages import require


@MODELS.register_module()
class LazyTIMMBackbone(TIMMBackbone):
    """mmpretrain's ``TIMMBackbone``, which fetches its weights when a training starts.

    ``TIMMBackbone`` itself fetches them whenever it is built, to use a trained model, too.

    Args:
        model_name (str): timm's, with the tag of its weights: ``tresnet_l.miil_in1k_448``.
        pretrained (bool): Take timm's weights in :meth:`init_weights` (the Runner calls it before
            training). Defaults to True.
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
        norm_eval: bool = True,
        init_cfg: dict | None = None,
        **settings,
    ) -> None:
        require('timm', 'timm', type(self).__name__)
        super().__init__(model_name, pretrained=False, init_cfg=init_cfg, **settings)
        self.pretrained = pretrained
        self.norm_eval = norm_eval
        self.settings = dict(model_name=model_name, **settings)

    def init_weights(self) -> None:
        """Load timm's weights, if ``pretrained``; those that ``init_cfg`` names, if not."""
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

    def train(self, mode: bool = True) -> 'LazyTIMMBackbone':
        """Training mode, with BatchNorm in evaluation if ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self
