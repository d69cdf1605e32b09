"""Trained weights as the start of training on other classes: each class takes over what is its own.

Shapes in this module: C classes, G groups of S classes.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from mlic.models.training_parts import class_dims, class_pairs
from mlic.names import first_names

from .matching import class_difference, class_names_of
from .reading import CheckpointError
from .renaming import listed


def take_over_weights(
    checkpoint: MutableMapping,
    model: nn.Module,
    classes: Sequence[str] | None,
    renamed: Mapping[str, str],
    source: str | Path,
) -> list[str]:
    """Make a checkpoint's weights, averaged ones too, fit a model that training starts from.

    If both name their classes, and differ, what belongs to single classes or to pairs of them
    (:func:`mlic.models.training_parts.class_dims`, ``class_pairs``) is put in the order of the data
    by name; the part of a new class is the model's own, as initialised. An entry of another shape
    is the model's own as a whole. ``checkpoint`` is changed: each of its entries that the model has
    fits it.

    Args:
        checkpoint (MutableMapping): Content of the file, or its state dict alone.
        model (nn.Module): Initialised, without a wrapper.
        classes (Sequence[str], optional): Of the data, in their order.
        renamed (Mapping[str, str]): Names of classes of the data, and theirs in the checkpoint.
        source (str | Path): Of the checkpoint, for messages.

    Returns:
        list[str]: What was done; empty if everything fits as it is.

    Raises:
        CheckpointError: If ``renamed`` names a class that is not there.
        ValueError: See ``class_dims``.
    """
    weights = _plain_names(checkpoint)
    trained = class_names_of(checkpoint)
    _check_renamed(renamed, trained, classes, source)
    there = [renamed.get(name, name) for name in classes or ()]
    differ = bool(trained and classes) and there != list(trained)
    dims = class_dims(model, len(classes)) if differ else {}
    pairs = class_pairs(model) if differ else set()
    old = {name: index for index, name in enumerate(trained or ())}
    places = [(old[name], new) for new, name in enumerate(there) if name in old]
    shapes, regrouped = {}, {}
    # where EMAHook keeps the weights that are not averaged, and its names of them
    for prefix, stored in (('', weights), ('module.', checkpoint.get('ema_state_dict') or {})):
        for name, own in model.state_dict().items():
            value = stored.get(prefix + name)
            by_name = name in dims or name in pairs
            if value is None or (not by_name and value.shape == own.shape):
                continue
            stored[prefix + name] = start = own.detach().to(value.device, copy=True)
            if name in pairs:
                taken = _take_pairs(start, value, places, len(trained))
            else:
                taken = _take_parts(start, value, dims.get(name), places, len(trained or ()))
            if taken is None:
                shapes[name] = f'{name} {tuple(value.shape)} for {tuple(own.shape)}'
            elif taken < len(places):
                regrouped[name] = len(places) - taken
    lines = []
    if dims:
        lines.append(_class_line(trained, classes, there, regrouped))
    elif differ:
        difference = class_difference(trained, there)
        lines.append(f'{difference}. No module says what belongs to a class: taken by position')
    if shapes:
        lines.append(f'weights of another shape start fresh: {listed([*shapes.values()], 3)}')
    return [f'load_from {source}: {line}' for line in lines]


def _plain_names(checkpoint: MutableMapping) -> MutableMapping:
    """The weights, which are then under 'state_dict', by their names without DDP's prefix."""
    if 'state_dict' not in checkpoint:
        content = dict(checkpoint)
        checkpoint.clear()
        checkpoint['state_dict'] = content
    weights = checkpoint['state_dict']
    for name in [name for name in weights if name.startswith('module.')]:
        weights[name.removeprefix('module.')] = weights.pop(name)
    return weights


def _class_line(
    trained: Sequence[str], classes: Sequence[str], there: Sequence[str], regrouped: dict[str, int]
) -> str:
    """How many classes are taken over, new and left out, with names of those that are not."""
    new = [name for name, original in zip(classes, there) if original not in trained]
    left_out = [name for name in trained if name not in there]
    taken = len(classes) - len(new)
    line = f'{taken} {"class" if taken == 1 else "classes"} taken over by name'
    for what, names in (('new', new), ('left out', left_out)):
        line += f', {len(names)} {what}' + (f' ({first_names(names, 5)})' if names else '')
    for name, number in regrouped.items():
        line += f'; {name} starts fresh for {number} that have moved to another group of classes'
    return line


def _take_parts(
    start: Tensor, value: Tensor, dims: tuple[int, ...] | None, places: list, num_trained: int
) -> int | None:
    """Copy the parts of classes from ``value`` to ``start``, at ``places`` (old, new).

    Returns:
        int: Of how many classes; None if the two have other shapes besides, and nothing is copied.
    """
    if not dims or value.dim() != start.dim():
        return None
    first = tuple(range(len(dims)))
    start, value = start.movedim(dims, first), value.movedim(dims, first)  # (C, …) or (G, S, …)
    if start.shape[len(dims) :] != value.shape[len(dims) :]:
        return None
    if len(dims) == 1:
        if len(value) != num_trained:
            return None
        taken = [((old,), (new,)) for old, new in places]
    else:
        if len(start) != len(value) or value.shape[0] * value.shape[1] < num_trained:
            return None
        both = [(divmod(old, value.shape[1]), divmod(new, start.shape[1])) for old, new in places]
        taken = [(old, new) for old, new in both if old[0] == new[0]]
    for old, new in taken:
        start[new] = value[old].to(start)
    return len(taken)


def _take_pairs(start: Tensor, value: Tensor, places: list, num_trained: int) -> int | None:
    """Copy the entries of pairs of classes (..., C, C); returns as :func:`_take_parts`."""
    if value.shape != (*start.shape[:-2], num_trained, num_trained):
        return None
    old, new = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
    start[..., new[:, None], new] = value[..., old[:, None], old].to(start)
    return len(places)


def _check_renamed(
    renamed: Mapping[str, str],
    trained: Sequence[str] | None,
    classes: Sequence[str] | None,
    source: str | Path,
) -> None:
    """Refuse names that the data or the checkpoint do not have."""
    for where, names, known in (
        ('the data', renamed.keys(), classes),
        (f'{source}', renamed.values(), trained),
    ):
        for name in names:
            if not known:
                raise CheckpointError(f'load_from_classes names {name!r}, and {where} names none')
            if name not in known:
                close = get_close_matches(name, known)
                similar = f'; similar: {", ".join(close)}' if close else ''
                raise CheckpointError(
                    f'load_from_classes names {name!r}, which is not a class of {where}{similar}'
                )
