"""A vector for each class, learned or from a file of word vectors.

Shapes in this module: C classes, E width of a vector.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlic.class_info import ClassInfo
from mlic.files import check_regular
from mlic.models.training_parts import TrainingParts
from mlic.names import first_names, printable


class LabelVectors(TrainingParts, nn.Module):
    """Vectors (C, E) of the classes.

    Args:
        num_classes (int): C.
        dims (int): E. Defaults to 300, GloVe's.
        file (str, optional): Of word vectors, see :func:`read_vectors`. It is read when a training
            starts, and the vectors are kept as they are; a checkpoint has them, and predicts
            without the file. Defaults to None: parameters that start from N(0, 1) and are learned.
    """

    by_class = dict(vectors=(0,))

    def __init__(self, num_classes: int, dims: int = 300, file: str | None = None) -> None:
        super().__init__()
        self.file = file
        start = torch.randn(num_classes, dims)
        if file is None:
            self.vectors = nn.Parameter(start)
        else:
            self.register_buffer('vectors', torch.zeros_like(start))

    def learn_classes(self, info: ClassInfo) -> list[str]:
        """Read the file; says so.

        Raises:
            ValueError: If the file's vectors have another width than E.
        """
        if self.file is None:
            return []
        found = torch.from_numpy(read_vectors(self.file, info.names))
        if found.shape != self.vectors.shape:
            raise ValueError(
                f'{self.file}: vectors of {found.shape[1]} numbers, and the config says '
                f'dims={self.vectors.shape[1]}: set it to {found.shape[1]}'
            )
        self.vectors.copy_(found)
        return [f'Label vectors: {len(found)} of {found.shape[1]} numbers from {self.file}']

    def forward(self) -> Tensor:
        """(C, E)."""
        return self.vectors


def read_vectors(path: str | Path, names: Sequence[str]) -> np.ndarray:
    """The vectors of names, (C, E) float32, from a text file in the format of GloVe.

    Each line is a word and its E numbers, separated by blanks; within a name of several words an
    underscore stands for the blank. A name is found whatever its case, blanks, underscores and
    hyphens: the line that spells it as it is, or else in lower case, or else the first. A name
    of several words without a line of its own is the mean of its words' vectors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With names that have no vector, or the line that is no vector.
    """
    check_regular(path)
    names = list(names)
    words = {name: name.replace('_', ' ').replace('-', ' ').split() for name in names}
    wanted = {_plain(word) for name in names for word in (name, *words[name])}
    found: dict[str, dict[str, np.ndarray]] = {}
    width = None
    with open(path, encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, 1):
            word, *values = line.rstrip().split(' ')
            if _plain(word) not in wanted:
                continue
            vector = _vector(values, f'{path}: line {number} ({printable(word[:50])})')
            if width not in (None, len(vector)):
                raise ValueError(
                    f'{path}: line {number} has {len(vector)} numbers, and lines before {width}'
                )
            width = len(vector)
            found.setdefault(_plain(word), {}).setdefault(word, vector)

    def look_up(word: str) -> np.ndarray | None:
        lines = found.get(_plain(word), {})
        spellings = word.replace(' ', '_'), word.lower().replace(' ', '_'), *lines
        return next((lines[spelling] for spelling in spellings if spelling in lines), None)

    rows = {}
    for name in names:
        row = look_up(name)
        parts = [look_up(word) for word in words[name]] if row is None else [row]
        if parts and all(part is not None for part in parts):
            rows[name] = np.mean(parts, axis=0, dtype=np.float64)
    missing = [name for name in names if name not in rows]
    if missing:
        raise ValueError(
            f'{path}: {len(missing)} of {len(names)} classes have no vector '
            f'({first_names(missing, 10, repr)}): add a line for each of them'
        )
    return np.stack([rows[name] for name in names]).astype(np.float32)


def _plain(word: str) -> str:
    """A word without case, blanks, underscores and hyphens."""
    return word.casefold().translate(str.maketrans('', '', ' _-'))


def _vector(values: list[str], where: str) -> np.ndarray:
    """The numbers of a line.

    Raises:
        ValueError: If there is none, or one that is no finite number.
    """
    try:
        vector = np.array([float(value) for value in values])
    except ValueError:
        vector = np.array([])
    if not len(vector) or not np.isfinite(vector).all():
        raise ValueError(f'{where} is not a word and its numbers, separated by blanks')
    return vector
