"""What is to be decided about a table, by its user or by asking."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Choices:
    """What the user has decided; None and () are not decided."""

    image: str | None = None
    labels: Sequence[str] = ()
    ignored: Sequence[str] = ()
    split: str | None = None
    present: Sequence[str] = ()
    absent: Sequence[str] = ()
    sep: str | None = None


@dataclass
class Questions:
    """What a table leaves open: what is said of it, and the options that decide."""

    said: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    def ask(self, said: str, *options: str) -> None:
        """Keep a question, and the options that would answer it as it was assumed."""
        self.said.append(said)
        self.options += options


class Undecided(ValueError):
    """What a table leaves open; ``options`` of the command line would decide it."""

    def __init__(self, message: str, options: Sequence[str]) -> None:
        super().__init__(message)
        self.options = list(options)


def show(values: Sequence[str]) -> str:
    """Names or values of cells in a message."""
    return ', '.join(repr(value) if value else 'blank' for value in values)
