"""Checkpoints of other systems' released code: which one it is, and the same weights for ours.

Shapes in this module: C classes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmpretrain.models.backbones import ResNet
from mmpretrain.models.backbones.resnet import Bottleneck
from torch import Tensor, nn

from mlic.engine.shortages import is_lack_of_memory
from mlic.models.training_parts import class_dims, class_pairs
from mlic.names import counted, reason_of

from .renaming import NameTable


@dataclass(frozen=True)
class PublishedSystem:
    """How to read the checkpoints of a system's released code.

    A method of ``projects`` registers its own by :func:`by_table`, or :func:`register_published`.

    Attributes:
        name (str): As the field has it.
        convert (Callable): Their state dict to ours; a ValueError names the keys that are unknown.
        check (Callable): ``check(weights, published)`` compares our weights with the model that
            their sizes call for, and describes it in a line; a ValueError names, by published
            names if asked for, what is missing, unknown or of another shape.
        model_of (Callable): The model that our weights are for, of their sizes, with a ``head``.
        revert (Callable, optional): Our state dict to theirs. Defaults to None: it cannot.
        alphabetical (bool): Its classes stand in alphabetical order, whatever the data set has.
            Defaults to False.
        lacks (Callable): How many of its names a state dict does not have: of two systems that know
            all of them, one may have been built on the other. Defaults to none.
    """

    name: str
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    check: Callable[..., str]
    model_of: Callable[[Mapping[str, Tensor]], nn.Module]
    revert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    alphabetical: bool = False
    lacks: Callable[[Mapping[str, Tensor]], int] = lambda state_dict: 0


SYSTEMS: dict[str, PublishedSystem] = {}


def register_published(system: PublishedSystem) -> PublishedSystem:
    """Make a system's checkpoints known to the converter."""
    SYSTEMS[system.name] = system
    return system


def by_table(
    name: str,
    table: NameTable,
    model_of: Callable[[Mapping[str, Tensor]], nn.Module],
    adjust: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    alphabetical: bool = True,
) -> PublishedSystem:
    """Register a system whose weights are ours under other names.

    Args:
        name (str): Of the system.
        table (NameTable): Its names and ours.
        model_of (Callable): See ``PublishedSystem``; where it looks up a weight that is missing,
            that is said.
        adjust (Callable): What else has to be done to the renamed weights. Defaults to nothing.
        alphabetical (bool): See ``PublishedSystem``. Defaults to True.
    """

    def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = table.rename(bare_names(state_dict))
        with _of_sizes(name):
            return adjust(weights)

    def model(weights: Mapping[str, Tensor]) -> nn.Module:
        try:
            with _of_sizes(name):
                return model_of(weights)
        except KeyError as error:
            missing = table.theirs(error.args[0])
            raise ValueError(f'not a complete {name} checkpoint; missing: {missing}') from error

    def check(weights: Mapping[str, Tensor], published: bool = False) -> str:
        built = model(weights)
        rename = table.theirs if published else str
        table.compare(weights, built.state_dict(), f'{name} checkpoint', rename)
        return f'{name}, {counted(built.head.num_classes, "class")}'

    def lacks(state_dict: Mapping[str, Tensor]) -> int:
        return table.lacks(bare_names(state_dict))

    return register_published(
        PublishedSystem(name, convert, check, model, alphabetical=alphabetical, lacks=lacks)
    )


@contextmanager
def _of_sizes(name: str) -> Iterator[None]:
    """ValueError where weights have other dimensions than a system's, or sizes of no model."""
    try:
        yield
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if is_lack_of_memory(error):
            raise
        raise ValueError(
            f'no {name} checkpoint: its weights have other sizes ({reason_of(error)})'
        ) from error


def as_linear(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions of width 1 along the classes, (out, in, 1), as linear layers."""
    return {name: value[..., 0] if value.dim() == 3 else value for name, value in weights.items()}


def bare_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the ``module.`` of data-parallel wrappers."""
    return {re.sub(r'^(module\.)+', '', name): value for name, value in state_dict.items()}


def convert_published(
    state_dict: Mapping[str, Tensor],
) -> tuple[PublishedSystem, dict[str, Tensor]]:
    """Find out whose checkpoint it is, and give its weights our names.

    It is of the system that knows all the keys; of several, of the one that lacks the fewest.

    Raises:
        ValueError: If no system knows all the keys; says what the nearest does not know.
    """
    faults, found = {}, []
    for system in SYSTEMS.values():
        try:
            found.append((system, system.convert(state_dict)))
        except ValueError as error:
            faults[system.name] = str(error)
    if found:
        return min(found, key=lambda pair: pair[0].lacks(state_dict))
    nearest = min(faults, key=lambda x: (_number(faults[x]), SYSTEMS[x].lacks(state_dict)))
    others = f' (of {len(faults)} systems the nearest)' if len(faults) > 1 else ''
    raise ValueError(f'as a checkpoint of {nearest}{others}: {faults[nearest]}')


def reorder_classes(
    weights: Mapping[str, Tensor], model: nn.Module, order: Sequence[int]
) -> dict[str, Tensor]:
    """Weights whose class c is the one that was at ``order[c]``."""
    index = torch.as_tensor(order)
    dims = class_dims(model, len(index))
    dims.update(dict.fromkeys(class_pairs(model), (-2, -1)))
    result = dict(weights)
    for name in dims.keys() & weights.keys():
        for dim in dims[name]:
            result[name] = result[name].index_select(dim, index)
    return result


def count_layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbers follow a prefix such as 'neck.encoder.' in the names, from 0 on."""
    numbers = (re.match(rf'{re.escape(prefix)}(\d+)\.', name) for name in weights)
    return max((int(number[1]) + 1 for number in numbers if number), default=0)


def resnet_of(weights: Mapping[str, Tensor]) -> ResNet:
    """The smallest ResNet that has the blocks of ``backbone.``, or the largest if none has.

    mmpretrain's cannot be built on the meta device. Its ``feat_dim`` is the channels of its last
    map.
    """
    blocks = [count_layers(weights, f'backbone.layer{stage}.') for stage in range(1, 5)]
    is_bottleneck = (
        'backbone.layer1.0.conv3.weight' in weights
        or 'backbone.layer1.0.conv2.weight' not in weights
    )
    depths = {
        depth: of
        for depth, (block, of) in ResNet.arch_settings.items()
        if issubclass(block, Bottleneck) == is_bottleneck
    }
    fitting = [depth for depth, of in depths.items() if all(n <= m for n, m in zip(blocks, of))]
    return ResNet((fitting or list(depths)[-1:])[0])


def _number(fault: str) -> int:
    """How many keys a message says to be unknown."""
    found = re.match(r'(\d+) unknown keys', fault)
    return int(found[1]) if found else 0
