"""Which run a checkpoint is of, and whether the run continued from it or has left it behind."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .reading import CheckpointError, read_checkpoint

LAUNCHES = 'launches'  # in the message hub: those that led to a checkpoint


class Launch(NamedTuple):
    """A process that trained.

    Args:
        time (float): When it began, in seconds: what tells it from all others. 0.0 stands for all
            before a run's launches were recorded.
        iteration (int, optional): Of the checkpoint that it continued from, 0 for a new run; None
            if that is not recorded.
    """

    time: float
    iteration: int | None = None


class Position(NamedTuple):
    """Where a run stands: the launches that led there, and iterations done."""

    launches: list[Launch]
    iterations: int

    def is_of(self, other: 'Position') -> bool:
        """Whether the way to ``other`` leads through here, or its last launch saved both.

        What a run saved and left, when it was resumed from an earlier checkpoint, is not on it.
        """
        number = len(self.launches)
        shared = other.launches[:number]
        if [one.time for one in shared] != [one.time for one in self.launches]:
            return False
        left_at = other.launches[number].iteration if number < len(other.launches) else None
        return left_at is None or self.iterations <= left_at


def parse_launches(recorded: Sequence | None) -> list[Launch]:
    """Launches as a checkpoint or file records them; [] if there is no record.

    Times without an iteration, as in checkpoints of earlier versions, are one.
    """
    return [Launch(one) if isinstance(one, float) else Launch(*one) for one in recorded or ()]


def launches_of(info: Mapping) -> list[Launch]:
    """Those in a message hub; without a record, one that began at time 0."""
    return parse_launches(info.get(LAUNCHES)) or [Launch(0.0)]


def position_of(content: Mapping) -> Position:
    """Where the run of a checkpoint, as :func:`read_checkpoint` gives it, stood."""
    return Position(launches_of(info_of(content)), (content.get('meta') or {}).get('iter') or 0)


def info_of(content: Mapping) -> Mapping:
    """What a checkpoint's message hub records besides curves."""
    return (content.get('message_hub') or {}).get('runtime_info') or {}


def recorded_best(info: Mapping) -> str | None:
    """The path of the best checkpoint so far, of several metrics that of the first."""
    return next((str(info[key]) for key in info if str(key).startswith('best_ckpt')), None)


def is_of_run(path: str | Path, run: Position) -> bool:
    """Whether a file is a whole checkpoint on the way to where a run stands."""
    try:
        return Path(path).is_file() and position_of(read_checkpoint(path, mmap=True)).is_of(run)
    except (CheckpointError, OSError):
        return False


def find_of_run(recorded: str, run: Position, folders: Iterable[str | Path]) -> str | None:
    """A checkpoint of a run by its recorded path, which may have been moved or copied since.

    Another run may have left a file of the same name in the same place.

    Args:
        recorded (str): Where it was written.
        run (Position): Where the run stands.
        folders (Iterable[str | Path]): Where else it may be; the first comes before ``recorded``.

    Returns:
        str: Its path; None if it is nowhere.
    """
    first, *others = (Path(folder, Path(recorded).name) for folder in folders)
    places = (first, Path(recorded), *others)
    return next((str(path) for path in places if is_of_run(path, run)), None)
