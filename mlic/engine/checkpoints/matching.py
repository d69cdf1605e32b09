"""Whether a checkpoint belongs to a model and to its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from mlic.models.training_parts import is_training_only
from mlic.names import counted

from .reading import CheckpointError

COUNTER = '.num_batches_tracked'


def check_fit(
    checkpoint: Mapping, model: nn.Module, classes: Sequence[str] | None, source: str | Path
) -> dict[str, Tensor]:
    """Compare a checkpoint with a model, and its classes with those of the data if both are known.

    Args:
        checkpoint (Mapping): Content of the file, or its state dict alone.
        model (nn.Module): What of it only training needs may be missing.
        classes (Sequence[str], optional): Of the data, in their order.
        source (str | Path): Of the checkpoint, for the message.

    Returns:
        dict[str, Tensor]: The weights that the model has a place for, by name.

    Raises:
        CheckpointError: If weights are missing, of another shape or no tensors, or classes differ.
    """
    difference = class_difference(class_names_of(checkpoint), classes)
    if difference:
        raise CheckpointError(
            f'{source} has {difference}. Take the labels that it was trained on, in their order'
        )
    weights = {
        str(name).removeprefix('module.'): value
        for name, value in (checkpoint.get('state_dict') or checkpoint).items()
    }
    places = model.state_dict()
    needed = {name: value for name, value in places.items() if not is_training_only(name, model)}
    # older checkpoints lack batch norm's counters, which nothing here reads
    missing = [name for name in needed if name not in weights and not name.endswith(COUNTER)]
    unknown = [name for name in weights if name not in places and not is_training_only(name, model)]
    shapes = [
        f'{name} {_shape(weights[name])} for {_shape(value)}'
        for name, value in needed.items()
        if name in weights and _shape(weights[name]) != _shape(value)
    ]
    for fault, names in (
        ('lacks weights of the config', missing),
        ('has weights that the config has no place for', unknown),
        ('has weights of another shape', shapes),
    ):
        if names:
            more = f' and {len(names) - 3} more' if len(names) > 3 else ''
            raise CheckpointError(f'{source} {fault}: {", ".join(names[:3])}{more}')
    return {
        name: weights[name]
        for name, value in places.items()
        if name in weights and _shape(weights[name]) == _shape(value)
    }


def _shape(value: object) -> tuple[int, ...] | str:
    """The shape of a tensor; of anything else what it is."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def class_names_of(checkpoint: Mapping) -> Sequence[str] | None:
    """The names of the classes that a checkpoint was trained on; None if it has none."""
    return ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')


def class_difference(
    trained: Sequence[str] | None,
    data: Sequence[str] | None,
    names: tuple[str, str] = ('checkpoint', 'data'),
) -> str | None:
    """How a checkpoint's classes differ from those of the data, in names or in order.

    Args:
        trained (Sequence[str], optional): Of the checkpoint.
        data (Sequence[str], optional): Of the data.
        names (tuple[str, str]): What has the first, and what the second. Defaults to
            ('checkpoint', 'data').

    Returns:
        str: Such as "other classes than the data: …"; None if they are equal, or one is unknown.
    """
    if not trained or not data or list(trained) == list(data):
        return None
    if len(trained) == len(data):
        index = next(i for i, pair in enumerate(zip(trained, data)) if pair[0] != pair[1])
        what = 'the classes in another order' if set(trained) == set(data) else 'other classes'
        return (
            f'{what} than the {names[1]}: number {index} is {trained[index]!r} in the {names[0]} '
            f'and {data[index]!r} in the {names[1]}'
        )
    gone = [name for name in trained if name not in data]
    new = [name for name in data if name not in trained]
    return f'{counted(len(trained), "class")}, the {names[1]} have {len(data)}' + ''.join(
        f'; only in the {where}: {", ".join(map(repr, some[:5]))}'
        for where, some in zip(names, (gone, new))
        if some
    )
