"""What a user knows of images before they are predicted. C classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mlic.names import first_names, short

Known = Mapping[str, bool] | Iterable[Mapping[str, bool] | None]
Source = TypeVar('Source')


def known_rows(
    known: Known | None, sources: Iterable[Source], classes: Sequence[str]
) -> Iterator[tuple[Source, Tensor | None]]:
    """Each image with what is known of it: (C,), 1 present, 0 absent, NaN not known; or None.

    Args:
        known (Mapping | Iterable[Mapping | None], optional): {class: whether it is there} of all
            images, or one for each.
        sources (Iterable): The images.
        classes (Sequence[str]): C names.

    Raises:
        ValueError: At once for what shows at once: a name that is not a class, what is neither
            True nor False, or another number of them than of images.
    """
    # of two classes of one name the first
    places = {name: place for place, name in reversed([*enumerate(classes)])}
    if known is None or isinstance(known, Mapping):
        row = known_row(known, classes, places)
        return ((source, row) for source in sources)
    if isinstance(known, Sequence):
        if hasattr(sources, '__len__') and len(known) != len(sources):
            raise ValueError(f'known has {len(known)} entries for {len(sources)} images')
        for one in known:
            check_known(one, classes, places)
    return _in_pairs(sources, (known_row(one, classes, places) for one in known))


def _in_pairs(
    sources: Iterable[Source], rows: Iterator[Tensor | None]
) -> Iterator[tuple[Source, Tensor | None]]:
    """Images and rows, of which there must be as many."""
    missing = object()
    count = 0
    for count, source in enumerate(sources, 1):  # noqa: B007  the number at the end
        row = next(rows, missing)
        if row is missing:
            raise ValueError(f'known has {count - 1} entries, and there are more images')
        yield source, row
    if next(rows, missing) is not missing:
        raise ValueError(f'known has more entries than the {count} images')


def check_known(
    known: Mapping[str, bool] | None, classes: Sequence[str], places: Mapping[str, int]
) -> None:
    """ValueError if a name is not a class, or it is neither True nor False."""
    if not known:
        return
    if not isinstance(known, Mapping):
        raise ValueError(f'known must have a dict for each image, got {short(known)}')
    odd = [name for name in known if name not in places]
    if odd:
        raise ValueError(
            f'known: {odd[0]!r} is not a class of the model, which has '
            f'{first_names(list(classes), 5, repr)}'
        )
    for name, value in known.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f'known: {name!r} must be True or False, got {short(value)}')


def known_row(
    known: Mapping[str, bool] | None, classes: Sequence[str], places: Mapping[str, int]
) -> Tensor | None:
    """(C,) of {class: whether it is there}; None if nothing is known.

    Raises:
        ValueError: If a name is not a class, or it is neither True nor False.
    """
    check_known(known, classes, places)
    if not known:
        return None
    row = torch.full((len(classes),), torch.nan)
    row[[places[name] for name in known]] = torch.tensor([float(one) for one in known.values()])
    return row
