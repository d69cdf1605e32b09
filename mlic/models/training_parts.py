"""The seam between methods and toolkit: a module says what of it only training needs.

Publishing, export, testing, resuming and exact multi-process checkpoints ask; they know no method.
"""

import inspect
from collections.abc import Iterator, Sequence

from mmengine.config import ConfigDict
from mmpretrain.registry import MODELS
from torch import nn

from mlic.registries import find_registered


class TrainingParts:
    """Mixin of a neck, head or other module that has parts for its losses alone.

    Attributes:
        training_only (tuple[str]): Names of its submodules, parameters and buffers that prediction
            never reads: a checkpoint may lack them, or have them besides.
        off_in_prediction (tuple[str]): Arguments of its constructor that are set to None for
            prediction, so that those parts are not built.
        row_buffers (tuple[str]): Its buffers with a row for each image of a process's batch.
    """

    training_only: tuple[str, ...] = ()
    off_in_prediction: tuple[str, ...] = ()
    row_buffers: tuple[str, ...] = ()

    def restart_row_buffer(self, name: str) -> str:
        """Fill a row buffer whose stored rows are of another batch; says with what, for the log."""
        getattr(self, name).zero_()
        return 'zeros'

    def start_warnings(self, class_names: Sequence[str] | None) -> list[str]:
        """Lines that a log should have before the first iteration."""
        return []


def parts_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that declare parts for training, with their names."""
    return (pair for pair in model.named_modules() if isinstance(pair[1], TrainingParts))


def is_training_only(name: str, model: nn.Module) -> bool:
    """Whether a key of a state dict belongs to a part that prediction never reads."""
    return any(
        f'{name}.'.startswith(f'{module_name}.{part}.'.lstrip('.'))
        for module_name, module in parts_of(model)
        for part in module.training_only
    )


def for_prediction(model_cfg: ConfigDict) -> ConfigDict:
    """A copy of a model's config whose parts for training alone are off, at any depth.

    Args:
        model_cfg (ConfigDict): Or what is in one: lists are followed, other values stay.
    """
    if isinstance(model_cfg, (list, tuple)):
        return type(model_cfg)(map(for_prediction, model_cfg))
    if not isinstance(model_cfg, dict):
        return model_cfg
    copy = type(model_cfg)({key: for_prediction(item) for key, item in model_cfg.items()})
    kind = copy.get('type')
    cls = kind
    if isinstance(kind, str):  # 'package.Class' of a config file, or one of another registry
        cls = MODELS.get(kind) if '.' in kind else find_registered(MODELS, kind)
    for argument in getattr(cls, 'off_in_prediction', ()):
        parameters = inspect.signature(cls).parameters
        if argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            copy[argument] = None
    return copy
