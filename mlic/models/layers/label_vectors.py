"""A vector for each class, learned or from a file of word vectors.

Shapes in this module: C classes, E width of a vector.
"""

import shlex
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlic.class_info import ClassInfo
from mlic.files import check_regular
from mlic.installation import command_words
from mlic.models.training_parts import TrainingParts
from mlic.names import first_names, short

BLANKS = str.maketrans('_-', '  ')
MOST = float(np.finfo(np.float32).max)


class LabelVectors(TrainingParts, nn.Module):
    """Vectors (C, E) of the classes.

    Args:
        num_classes (int): C.
        dims (int): E. Defaults to 300, GloVe's.
        file (str, optional): Of word vectors, see :func:`read_vectors`; docs/label_graphs.md says
            where to find some. It is read when a training starts, and the vectors are kept as
            they are. A checkpoint has them: it predicts and is resumed without the file. Defaults
            to None: parameters that start from N(0, 1) and are learned.
        fixed (bool): Without a file, keep them as they are drawn: for methods that
            compare something with them. They tell the classes apart, and say nothing of them.
            Defaults to False.

    Example:
        >>> from mlic.models import LabelVectors
        >>> LabelVectors(num_classes=3, dims=50)().shape
        torch.Size([3, 50])
    """

    by_class = dict(vectors=(0,))
    constant_buffers = ('vectors',)  # where they are one

    def __init__(
        self, num_classes: int, dims: int = 300, file: str | None = None, fixed: bool = False
    ) -> None:
        super().__init__()
        self.file = file
        start = torch.empty(num_classes, dims)
        if file is None and not fixed:
            self.vectors = nn.Parameter(start)
        else:
            self.register_buffer('vectors', start)
        start.normal_()  # of a registered tensor: a size that is refused takes no memory
        if file is not None:
            start.zero_()

    def learn_classes(self, info: ClassInfo) -> list[str]:
        """Read the file; says so, and where vectors say nothing.

        Raises:
            ValueError: If the file's vectors have another width than E.
        """
        if self.file is None:
            fixed = not isinstance(self.vectors, nn.Parameter)
            return ['Label vectors: random ones, which stay (no file)'] if fixed else []
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

    Each line is a word and its E numbers, separated by blanks; of a line with more than that, the
    last E are the numbers. E is what the first line has; one that says how many lines and numbers
    there are, as word2vec and fastText write it, is not a line.

    A name is found whatever its case, blanks, underscores and hyphens: the line that spells it as
    it is, or else in lower case, or else the first. A name of several words without a line of its
    own is the mean of its words' vectors. (ML-GCN's vectors of COCO and VOC are lines of GloVe 6B
    of one word, for "hot dog" and "cell phone", too, and the mean of two for COCO's other 13 names
    of two words.)

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With names that have no vector, or the line that is not a vector.
    """
    parts = {name: name.translate(BLANKS).split() for name in names}
    wanted = {_plain(word) for name in names for word in (name, *parts[name])}
    found: dict[str, dict[str, np.ndarray]] = {}
    for number, word, line in _lines(path):
        if _plain(word) in wanted:
            vector = _vector(line[len(word) + 1 :], f'{path}: line {number}')
            found.setdefault(_plain(word), {}).setdefault('_'.join(word.split()), vector)

    def look_up(word: str) -> np.ndarray | None:
        lines = found.get(_plain(word), {})
        spelling = '_'.join(word.split())
        first = (x for x in (spelling, spelling.lower(), *lines) if x in lines)
        return lines.get(next(first, None))

    rows = {}
    for name in names:
        row = look_up(name)
        words = [look_up(word) for word in parts[name]] if row is None else [row]
        if words and all(word is not None for word in words):
            rows[name] = np.mean(words, axis=0)
    missing = [name for name in names if name not in rows]
    if missing:
        tool = shlex.join(command_words('dataset_tools/label_vectors.py'))
        raise ValueError(
            f'{path}: {len(missing)} of {len(names)} classes have no vector '
            f'({first_names(missing, 10, repr)}): add a line for each of them, or make a file with '
            f'{tool}, whose --spell NAME=WORDS looks one up as other words'
        )
    return np.stack([rows[name] for name in names]).astype(np.float32)


def _lines(path: str | Path) -> Iterator[tuple[int, str, str]]:
    """Number, word and whole of each line of a file of vectors.

    Raises:
        FileNotFoundError, ValueError: If there is no such file, or a line has too few numbers.
    """
    check_regular(path)
    width = None
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip()
            if not line:
                continue
            if width is None:
                first, *others = line.split(' ')
                if number == 1 and len(others) == 1 and (first + others[0]).isdecimal():
                    continue
                width = sum(1 for _ in takewhile(_is_number, reversed(others)))
            blanks = line.count(' ')
            if blanks < width or not width:
                raise ValueError(
                    f'{path}: line {number} ({short(line[:50])}) is not a word and '
                    f'{width or "its"} numbers, separated by blanks'
                )
            # GloVe has words with blanks in them
            word = line.rsplit(' ', width)[0] if blanks > width else line[: line.index(' ')]
            yield number, word, line


def _plain(word: str) -> str:
    """A word without case, blanks, underscores and hyphens."""
    return ''.join(word.casefold().translate(BLANKS).split())


def _is_number(text: str) -> bool:
    """Whether it is one that fits a vector."""
    try:
        return abs(float(text)) <= MOST
    except ValueError:
        return False


def _vector(text: str, where: str) -> np.ndarray:
    """The numbers of a line, float64.

    Raises:
        ValueError: If one is not a finite number.
    """
    values = text.split(' ')
    for value in values:
        if not _is_number(value):
            raise ValueError(f'{where} has {short(value)} where a number should be')
    return np.array(values, dtype=np.float64)
