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
        paramwise_cfg (dict, optional): mmengine's. Defaults to None.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Add the groups of a module to ``params``, and merge them once all are there."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return
        groups: dict[str, dict] = {}
        for group in params:
            settings = {key: value for key, value in group.items() if key != 'params'}
            shared = groups.setdefault(repr(sorted(settings.items())), dict(settings, params=[]))
            shared['params'] += group['params']
        params[:] = groups.values()
