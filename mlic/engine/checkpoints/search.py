"""Which checkpoint of a work directory: the best, the latest, the one to resume from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mlic.files import read_json, read_text

from .launches import Position, info_of, parse_launches, position_of
from .reading import CheckpointError, read_checkpoint
from .safetensors_file import SUFFIX

LAST = 'last_checkpoint'  # mmengine's file with the name of one
LAST_LAUNCH = 'last_launch'  # the launches of the run that was started last, as JSON
# what --resume needs; a best_*.pth has no optimizer
RESUMABLE = ('meta', 'state_dict', 'message_hub', 'optimizer')
STAGES = ('best', 'last')


class FoundCheckpoint(NamedTuple):
    """A checkpoint, and what it records of itself; None where it does not.

    Args:
        path (str): File or address.
        stage (int, optional): The stage of the run that it is of, counted from 1.
        epoch (int, optional): Epochs that were done.
        iteration (int, optional): Iterations that were done.
        score (float, optional): Of the validation that made it the best, by the first metric of
            ``save_best``.

    Example:
        >>> from mlic.engine import FoundCheckpoint
        >>> print(FoundCheckpoint('work_dirs/run/epoch_8.pth', epoch=8, score=92.1))
        work_dirs/run/epoch_8.pth (epoch 8, validation score 92.1)
    """

    path: str
    stage: int | None = None
    epoch: int | None = None
    iteration: int | None = None
    score: float | None = None

    def facts(self) -> list[str]:
        """What is known besides the path, such as 'epoch 5'."""
        facts = [] if self.stage is None else [f'stage {self.stage}']
        if self.epoch or self.iteration:
            facts.append(f'epoch {self.epoch}' if self.epoch else f'iteration {self.iteration}')
        if self.score is not None:
            facts.append(f'validation score {self.score:.4g}')
        return facts

    def __str__(self) -> str:
        """The path, and in brackets what is known."""
        facts = self.facts()
        return f'{self.path} ({", ".join(facts)})' if facts else self.path


def find_checkpoint(path: str | Path, stage: str = 'best') -> FoundCheckpoint:
    """A checkpoint file or address, or the one that a work directory stands for.

    Of the ``best_*.pth`` that a run of several stages leaves, it is the one with the highest
    recorded validation score, or the last stage's; the times of the files say nothing, and those
    that an older run left there, or this one before it was resumed from an earlier checkpoint, are
    not taken. Without a ``best_*.pth`` it is the one that the run would resume from; in a folder
    that is no run's, such as that of a published checkpoint, the only one.

    Args:
        path (str | Path): File, address or work directory.
        stage (str): Of a work directory, 'best': the highest score over all stages; 'last': the
            highest of the last stage. Defaults to 'best'.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If one of those to compare cannot be read.
        ValueError: If there is no such ``stage``.
    """
    if stage not in STAGES:
        raise ValueError(f'stage must be one of {", ".join(STAGES)}, got {stage!r}')
    path = os.fspath(path)
    given = Path(path)
    if '://' in path:
        return FoundCheckpoint(path)
    if not given.exists():
        raise FileNotFoundError(f'checkpoint not found: {path} does not exist')
    if not given.is_dir():
        return _read_record(given)
    best = [_read_record(file) for file in _best_of_run(given)]
    if best:
        return _choose(best, stage)
    files = [file for suffix in ('.pth', SUFFIX) for file in given.glob(f'*{suffix}')]
    if len(files) == 1 and not os.path.lexists(given / LAST):
        return _read_record(files[0])
    latest = find_resumable(given)
    if latest is None:
        raise FileNotFoundError(
            f'checkpoint not found: no best_*.pth and no last_checkpoint in {path}'
        )
    return _read_record(Path(latest))


def has_saved(work_dir: str | Path) -> bool:
    """Whether the last run in a folder has saved a checkpoint, or was resumed from one."""
    return os.path.lexists(Path(work_dir, LAST)) or bool(_best_of_run(Path(work_dir)))


def _best_of_run(work_dir: Path) -> list[Path]:
    """The ``best_*.pth`` of the run that was started last; all, if nothing says which that is."""
    files = sorted(work_dir.glob('best_*.pth'))
    run = _follow(work_dir).run if files else None
    if run is None:
        return files
    return [file for file in files if _are_one(position_of(read_checkpoint(file, mmap=True)), run)]


def _choose(best: list[FoundCheckpoint], stage: str) -> FoundCheckpoint:
    """One of a directory's best checkpoints, wherever and whenever they were written."""
    if any(one.stage is not None for one in best):
        best = [one._replace(stage=one.stage or 1) for one in best]
    # those of the second and further metrics of save_best have no score
    best = [one for one in best if one.score is not None] or best

    def time(one: FoundCheckpoint) -> tuple:
        return one.stage or 1, one.epoch or 0, one.iteration or 0, one.path

    if stage == 'last':
        if best[0].stage is None:  # written before stages were recorded
            return max(best, key=time)
        last = max(one.stage for one in best)
        best = [one for one in best if one.stage == last]
    return max(best, key=lambda one: (one.score or 0.0, *time(one)))


def _read_record(path: Path) -> FoundCheckpoint:
    """What a file says of itself."""
    content = read_checkpoint(path, mmap=True)
    meta = content.get('meta') or {}
    info = info_of(content)
    # mmengine: best_score and best_ckpt, or best_score_<metric> and so on if there are several
    key = next((name for name in info if str(name).startswith('best_score')), '')
    score = info.get(key)
    is_its_own = Path(str(info.get(key.replace('score', 'ckpt', 1)))).name == path.name
    return FoundCheckpoint(
        str(path),
        info.get('stage'),
        meta.get('epoch'),
        meta.get('iter'),
        float(score) if is_its_own and score is not None else None,
    )


def find_resumable(work_dir: str | Path, log=print) -> str | None:
    """The checkpoint that a run in a work directory resumes from.

    It is the newest whole one of the run that was started last, as ``last_launch`` says, or else of
    the one that ``last_checkpoint`` points to: of those that the run's latest launch has saved, the
    one with most iterations. A run killed after a checkpoint was written and before the pointer was
    moved loses nothing. What an older run has left in the directory is not taken, and not what this
    one had saved beyond the checkpoint that it was resumed from. Checkpoints that record no
    launches (mmengine's) count as one run, of which the pointer chooses. Without either file it is
    the newest of all. ``best_*.pth`` has no optimizer state and is not a candidate.

    Args:
        work_dir (str | Path): Of the run.
        log (callable): Takes a line of notice, if it is not the one pointed to. Defaults to print.

    Returns:
        str: A path, or None if the run has saved nothing yet.

    Raises:
        CheckpointError: If there are checkpoints and none can be resumed from.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / LAST
    files = {file for file in work_dir.glob('*.pth') if not file.name.startswith('best_')}
    if not files and not os.path.lexists(pointer):
        return None
    wanted, state, run = _follow(work_dir)
    found = {file: _resumable(file) for file in files} | ({wanted: state} if wanted else {})
    for file, one in found.items():
        if run is not None and not isinstance(one, str) and not _are_one(one, run):
            found[file] = f'{file} is of another run, which --resume {file} continues'
    readable = {file: one for file, one in found.items() if not isinstance(one, str)}
    if not readable:
        others = [reason for file, reason in sorted(found.items()) if file != wanted]
        raise CheckpointError(
            f'nothing to resume from in {work_dir}: {"; ".join([state, *others][:3])}. Without '
            '--resume a new run starts there'
        )

    def age(file: Path) -> tuple:
        launch, iterations = readable[file].launches[-1].time, readable[file].iterations
        return launch, not launch and file == wanted, iterations, file == wanted, file.name

    newest = max(readable, key=age)
    if newest != wanted:
        reason = f'{pointer} names {wanted}, which is older' if wanted in readable else state
        log(f'{reason}: resuming from {newest}, the newest checkpoint that can be read.')
    return str(newest)


def check_resumable(path: str | Path) -> None:
    """CheckpointError, saying why, if a run cannot resume from this file."""
    state = _resumable(Path(path))
    if isinstance(state, str):
        raise CheckpointError(f'cannot resume: {state}')


def last_launch(work_dir: str | Path) -> Position | None:
    """Where the run stood that was started last in a folder; None if that is not recorded."""
    try:
        launches = parse_launches(read_json(Path(work_dir, LAST_LAUNCH)))
    except (OSError, ValueError):
        return None
    return Position(launches, 0) if launches else None


class _Pointed(NamedTuple):
    """What a work directory says of the run that was started last there."""

    path: Path | None  # that ``last_checkpoint`` names; None if that is not a name
    state: Position | str  # of that file, or what keeps a run from resuming from it
    run: Position | None  # where the run stands; None if nothing says it


def _follow(work_dir: Path) -> _Pointed:
    """What the files that a launch writes say; the folder may have been moved or copied since."""
    pointer = work_dir / LAST
    last = last_launch(work_dir)
    try:
        name = read_text(pointer).strip()
        named = Path(name)
        if not name or not name.isprintable():
            raise ValueError(name)
        path = here = work_dir / named.name
        is_elsewhere = here.parent.resolve() != named.parent.resolve()
        if is_elsewhere and named.is_file() and not here.is_file():
            path = named
    except (OSError, ValueError):  # missing, a folder, not UTF-8, too long for a name
        return _Pointed(None, f'{pointer} is missing, or names no file', last)
    state = _resumable(path)
    is_other = isinstance(state, Position) and last is not None and not state.is_of(last)
    if is_other and path == here and is_elsewhere:  # a name that both runs have used
        path, state = named, _resumable(named)
    is_known = isinstance(state, str) or last is not None and state.is_of(last)
    # else files of another day were put here
    return _Pointed(path, state, last if is_known else state)


def _are_one(one: Position, other: Position) -> bool:
    """Whether one of two leads to the other."""
    return one.is_of(other) or other.is_of(one)


def _resumable(path: Path) -> Position | str:
    """Where a checkpoint's run stood, or what keeps a run from resuming from it."""
    try:
        if not path.is_file():
            return f'{path} is missing'
        content = read_checkpoint(path, mmap=True)
    except (CheckpointError, OSError) as error:
        return str(error)
    absent = [key for key in RESUMABLE if not isinstance(content.get(key), Mapping)]
    if absent:
        return f'{path} has no {", ".join(absent)}'
    return position_of(content)
