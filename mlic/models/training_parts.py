"""The seam between methods and toolkit: a module says what of it only training needs, and what
belongs to single classes.

Publishing, export, testing, resuming, exact multi-process checkpoints and training that starts from
a checkpoint of other classes ask; they know no method.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import ConfigDict
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.registries import find_registered


class TrainingParts:
    """Mixin of a neck, head or other module that has parts for its losses alone.

    Attributes:
        training_only (tuple[str]): Names of its submodules, parameters and buffers that prediction
            never reads: a checkpoint may lack them, or have them besides.
        off_in_prediction (tuple[str]): Arguments of its constructor that are set to None for
            prediction, so that those parts are not built.
        row_buffers (tuple[str]): Its buffers with a row for each image of a process's batch.
        takes_back (tuple[str]): Its buffers that :meth:`take_back` restores after an iteration that
            is not finite.
        constant_buffers (tuple[str]): Its buffers that no iteration changes. All others, but for
            ``takes_back``, are copied before every iteration, which a large one should not be.
        by_class (Mapping[str, tuple[int]]): Its parameters and buffers that have a part for each
            class, and the dimension of the classes, ``(0,)`` for a weight (C, D). Two dimensions
            stand for groups of classes: ``(0, 2)`` for (G, D, S) with class c in place c % S of
            group c // S. ``()`` says that an entry has none, whatever its size.
        graph_buffers (tuple[str]): Its parameters and buffers (..., C, C), with a number for each
            pair of classes.
        least_images (int): Without this many in a process's batch it cannot be trained.
        mixes_images (bool): What it gives for an image depends on the other images of the batch, in
            prediction too: logs say so, and it is not exported.
        not_exported (str): Why a program for another runtime could not promise its scores; '' if
            it can.

    Example:
        >>> from torch import nn
        >>> from mlic.models import TrainingParts
        >>> class Head(TrainingParts, nn.Module):
        ...     training_only = ('projector',)  # is not published
        ...     by_class = dict(prototypes=(0,))  # has a row for each class
        ...
        >>> Head().start_warnings(['cat', 'dog'])
        []
    """

    training_only: tuple[str, ...] = ()
    off_in_prediction: tuple[str, ...] = ()
    row_buffers: tuple[str, ...] = ()
    takes_back: tuple[str, ...] = ()
    constant_buffers: tuple[str, ...] = ()
    by_class: Mapping[str, tuple[int, ...]] = {}
    graph_buffers: tuple[str, ...] = ()
    least_images: int = 1
    mixes_images: bool = False
    not_exported: str = ''

    def restart_row_buffer(self, name: str) -> str:
        """Fill a row buffer whose stored rows are of another batch; says with what, for the log."""
        getattr(self, name).zero_()
        return 'zeros'

    def fit_row_buffers(self, rows: int) -> None:
        """Prepare the row buffers for a process's batches of this many images."""

    def take_back(self, where: Tensor) -> None:
        """Undo what the last training batch did to ``takes_back``.

        Args:
            where (Tensor): (), bool, of the device: only if it is True, and without asking it.
        """

    def before_export(self) -> None:
        """Form once what does not depend on images: called on a copy, whose weights stay."""

    def start_warnings(self, class_names: Sequence[str] | None) -> list[str]:
        """Lines that a log should have before the first iteration."""
        return []


def parts_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that declare parts for training, with their names."""
    return (pair for pair in model.named_modules() if isinstance(pair[1], TrainingParts))


def declared(model: nn.Module, attribute: str) -> Iterator[tuple[str, nn.Module, str]]:
    """What modules name in an attribute of ``TrainingParts``: in the model, whose, and there."""
    for module_name, module in parts_of(model):
        for part in getattr(module, attribute):
            yield f'{module_name}.{part}'.lstrip('.'), module, part


def mixing_warnings(model: nn.Module) -> list[str]:
    """A line for each module whose prediction of an image depends on the rest of its batch."""
    return [
        f'{name} ({type(module).__name__}): the scores of an image depend on the other images of '
        'its batch'
        for name, module in parts_of(model)
        if module.mixes_images
    ]


def check_exportable(model: nn.Module) -> None:
    """Refuse a model whose scores another runtime could not promise.

    Raises:
        ValueError: With the first reason, if there is one.
    """
    reasons = [
        f'{line}, and a program that runs the file decides what a batch is'
        for line in mixing_warnings(model)
    ]
    reasons += [
        f'{name or "model"} ({type(module).__name__}): {module.not_exported}'
        for name, module in parts_of(model)
        if module.not_exported
    ]
    if reasons:
        raise ValueError(f'not exported: {reasons[0]}')


def is_training_only(name: str, model: nn.Module) -> bool:
    """Whether a key of a state dict belongs to a part that prediction never reads."""
    return any(f'{name}.'.startswith(f'{part}.') for part, *_ in declared(model, 'training_only'))


def class_dims(model: nn.Module, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Which entries of a model's state dict have a part for each class, along which dimensions.

    Modules say it (``TrainingParts.by_class``). Of other heads, and of other modules with a
    ``num_classes``, these are the linear layers and convolutions with C outputs. Backbones have
    none.

    Raises:
        ValueError: If a module has entries of that size, and nothing says what they are.
    """
    found = {name: module.by_class[part] for name, module, part in declared(model, 'by_class')}
    for name, module in model.named_modules():
        is_head = isinstance(module, MultiLabelClsHead) or hasattr(module, 'num_classes')
        if not is_head or {'backbone', 'data_preprocessor'} & set(name.split('.')):
            continue
        knows = isinstance(module, TrainingParts)
        if not knows:
            found.update(_of_layers(name, module, num_classes))
        own = [*module._parameters, *module._buffers]
        unclear = [
            part
            for part, value in module.state_dict().items()
            if num_classes in value.shape[:2]
            and (part in own or not knows)
            and f'{name}.{part}'.lstrip('.') not in found
        ]
        if unclear:
            raise ValueError(
                f'{name} ({type(module).__name__}) does not say whether {unclear[0]} has a part '
                f'for each of the {num_classes} classes: name it in its by_class '
                '(mlic.models.TrainingParts)'
            )
    return {name: dims for name, dims in found.items() if dims}


def class_pairs(model: nn.Module) -> set[str]:
    """Which entries of a model's state dict have a number for each pair of classes."""
    return {name for name, *_ in declared(model, 'graph_buffers')}


def _of_layers(name: str, module: nn.Module, num_classes: int) -> dict[str, tuple[int, ...]]:
    """The weights and biases of layers with C outputs, if these can only be scores of classes."""
    layers = {
        part: layer
        for part, layer in module.named_modules(prefix=name)
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)) and len(layer.weight) == num_classes
    }
    # of several, one that has C inputs as well may read what another gives
    if len(layers) > 1 and any(num_classes == x.weight.shape[1] for x in layers.values()):
        return {}
    return {f'{part}.{key}': (0,) for part, layer in layers.items() for key in layer._parameters}


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
