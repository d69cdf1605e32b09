"""Whether a checkpoint belongs to a model and to its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from .reading import CheckpointError

# parts of a head that only its losses use: a checkpoint may lack them, or have them besides
TRAINING_ONLY = ('head.projector.', 'head.prototypes', 'head.memory_bank')
COUNTER = '.num_batches_tracked'


def check_fit(
    checkpoint: Mapping, model: nn.Module, classes: Sequence[str] | None, source: str | Path
) -> None:
    """Compare a checkpoint with a model, and its classes with those of the data if both are known.

    Raises:
        CheckpointError: If weights are missing or of another shape, or classes differ.
    """
    trained = (checkpoint.get('meta', {}).get('dataset_meta') or {}).get('classes')
    if trained and classes:
        check_classes(trained, classes, source)
    needed = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(TRAINING_ONLY)
    }
    try:
        fitting_weights(needed, checkpoint.get('state_dict', checkpoint), source)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def check_classes(trained: Sequence[str], tested: Sequence[str], source: str | Path) -> None:
    """Compare the names of the classes, and their order.

    Raises:
        CheckpointError: Naming the first class that differs.
    """
    if list(trained) == list(tested):
        return
    if len(trained) != len(tested):
        gone = [name for name in trained if name not in tested]
        new = [name for name in tested if name not in trained]
        what = f'{len(trained)} classes, the test data have {len(tested)}'
        what += ''.join(
            f'; only in the {where}: {", ".join(map(repr, names[:5]))}'
            for where, names in (('checkpoint', gone), ('data', new))
            if names
        )
    else:
        index = next(i for i, pair in enumerate(zip(trained, tested)) if pair[0] != pair[1])
        what = (
            f'other classes than the test data: number {index} is {trained[index]!r} in the '
            f'checkpoint and {tested[index]!r} in the data'
        )
    raise CheckpointError(f'{source} has {what}. Test with the labels it was trained on')


def fitting_weights(
    needed: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], source: str | Path
) -> dict[str, Tensor]:
    """The weights of a checkpoint that a model needs, by name.

    Args:
        needed (dict): Of the model.
        state_dict (dict): Of the checkpoint; what only training needs may be there besides.
        source (str | Path): Of the checkpoint, for the message.

    Raises:
        ValueError: If weights are missing, or belong to another model.
    """
    weights = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    # older checkpoints lack batch norm's counters, which nothing here reads
    missing = [name for name in needed if name not in weights and not name.endswith(COUNTER)]
    unknown = [
        name for name in weights if name not in needed and not name.startswith(TRAINING_ONLY)
    ]
    shapes = [
        f'{name} {tuple(weights[name].shape)} for {tuple(value.shape)}'
        for name, value in needed.items()
        if name in weights and weights[name].shape != value.shape
    ]
    for fault, names in (
        ('lacks weights of the config', missing),
        ('has weights that the config has no place for', unknown),
        ('has weights of another shape', shapes),
    ):
        if names:
            more = f' and {len(names) - 3} more' if len(names) > 3 else ''
            raise ValueError(f'{source} {fault}: {", ".join(names[:3])}{more}')
    return {name: weights[name] for name in needed if name in weights}
