"""Parameters of equal settings in one group of the optimizer."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SharedGroupsConstructor(DefaultOptimWrapperConstructor):
    """mmengine's ``DefaultOptimWrapperConstructor``, with fewer groups.

    With ``paramwise_cfg``, mmengine makes a group of each parameter, and a fused or ``_foreach``
    step launches its kernels once for each group. Here those that have all settings in common share
    one. The settings of each parameter are the same.

    Args:
        optim_wrapper_cfg (dict): Of the wrapper, with ``optimizer``.
        paramwise_cfg (dict, optional): mmengine's, and ``layer_decay_rate``: by how much the
            learning rate of a layer is smaller than that of the next one, as in BEiT; the last
            depth, with neck and head, keeps its rate (``get_layer_depth`` of mmpretrain's models
            says the depths). Defaults to None.

    Raises:
        ValueError: If the layers' depths are not known.

    Example:
        >>> from torch import nn
        >>> from mlic.engine import SharedGroupsConstructor
        >>> constructor = SharedGroupsConstructor(
        ...     dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.01)),
        ...     dict(norm_decay_mult=0.0),
        ... )
        >>> wrapper = constructor(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)))
        >>> [len(group['params']) for group in wrapper.param_groups]
        [4, 2, 1]
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Add the groups of a module to ``params``, and merge them once all are there."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return
        decay = self.paramwise_cfg.get('layer_decay_rate', 1.0)
        if decay != 1:
            depths = _depths_of(module)
            for group in params:
                depth, number = depths[group['params'][0]]
                group['lr'] = group.get('lr', self.base_lr) * decay ** (number - 1 - depth)
        groups: dict[str, dict] = {}
        for group in params:
            settings = {key: value for key, value in group.items() if key != 'params'}
            shared = groups.setdefault(repr(sorted(settings.items())), dict(settings, params=[]))
            shared['params'] += group['params']
        params[:] = groups.values()


def _depths_of(model: nn.Module) -> dict[nn.Parameter, tuple[int, int]]:
    """The depth of each parameter, counted from 0, and the number of depths."""
    try:
        return {value: model.get_layer_depth(name) for name, value in model.named_parameters()}
    except (AttributeError, NotImplementedError) as error:
        part = getattr(model, 'backbone', model)
        raise ValueError(
            f'layer_decay_rate needs get_layer_depth, which {type(part).__name__} does not have'
        ) from error
