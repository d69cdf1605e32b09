"""LoRA: a backbone whose weights stay, with low-rank updates of its linear layers.

Shapes in this module: I inputs and O outputs of a linear layer, R the rank of its update.
"""

import re
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.peft.lora import LoRALinear, LoRAModel
from mmpretrain.registry import MODELS
from torch import nn


@MODELS.register_module()
class LazyLoRAModel(LoRAModel):
    r"""mmpretrain's ``LoRAModel`` (Hu et al., ICLR 2022) around a backbone: :math:`y = W x +
    \frac{\alpha}{R} B A x`, where only A (R, I) and B (O, R) are trained, and B begins with zeros.

    What differs: the backbone's weights are fetched when a training starts, not whenever it is
    built; a checkpoint has all weights, so that a trained model needs no other file; targets are
    names alone, of one rank, and each has to be there.

    Args:
        module (dict): The backbone.
        targets (Sequence[str]): Which linear layers: 'attn.proj' stands for those whose names
            end with it.
        rank (int): R. Defaults to 8.
        alpha (int): Scale of the updates, over R. Defaults to 8.
        drop_rate (float): Dropout before A. Defaults to 0.

    Raises:
        ValueError: If there is no target, one is no linear layer of the backbone, or the rank is
            below 1.

    Example:
        >>> from mlic.models import LazyLoRAModel
        >>> arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
        >>> vit = dict(type='VisionTransformer', arch=arch, img_size=32)
        >>> model = LazyLoRAModel(vit, targets=['qkv'], rank=2)
        >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
        256
    """

    def __init__(
        self,
        module: dict,
        targets: Sequence[str],
        rank: int = 8,
        alpha: int = 8,
        drop_rate: float = 0.0,
    ) -> None:
        BaseModule.__init__(self)  # LoRAModel's fetches weights, and hides them in checkpoints
        self.module = MODELS.build(module)
        if rank < 1:
            raise ValueError(f'LoRA needs a rank of at least 1, got {rank}')
        for target in targets or ['']:  # mmpretrain reads them as regular expressions, too
            if not (isinstance(target, str) and re.fullmatch(r'[\w.]+', target)):
                raise ValueError(f"LoRA: a target is the end of a name, as 'qkv', not {target!r}")
        self.targets = [dict(type=target) for target in targets]
        self.rank, self.alpha, self.drop_rate = rank, alpha, drop_rate
        self.apply_lora()
        self._set_lora_trainable()
        for target in targets:
            if not any(name.endswith(target) for name in self.adapters()):
                kind = type(self.module).__name__
                raise ValueError(f'LoRA: {kind} has no linear layer {target!r}')

    def adapters(self) -> dict[str, LoRALinear]:
        """The linear layers with their updates, by their names in ``module``."""
        layers = self.module.named_modules()
        return {name: layer for name, layer in layers if isinstance(layer, LoRALinear)}

    def init_weights(self) -> None:
        """Load the backbone's weights, by the names that it has without updates."""
        adapters = self.adapters()
        for name, adapter in adapters.items():
            self.module.set_submodule(name, adapter.original_layer)
        super().init_weights()
        for name, adapter in adapters.items():
            self.module.set_submodule(name, adapter)

    @torch.no_grad()
    def merge(self) -> nn.Module:
        """The backbone alone, with the updates added to its weights; this model is used up."""
        for name, adapter in self.adapters().items():
            linear = adapter.original_layer
            update = adapter.lora_up.weight.double() @ adapter.lora_down.weight.double()  # (O, I)
            linear.weight += (adapter.scaling * update).to(linear.weight.dtype)
            self.module.set_submodule(name, linear)
        return self.module

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter and number of depths, as the backbone has it."""
        return self.module.get_layer_depth(param_name, f'{prefix}module.')
