"""Which checkpoint of a work directory: the best, the latest, the one to resume from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mlic.files import read_text

from .reading import CheckpointError, read_checkpoint
from .safetensors_file import SUFFIX

LAST = 'last_checkpoint'  # mmengine's file with the name of one
# in the message hub: when each process that led to a checkpoint began to train, in seconds
LAUNCHES = 'launches'
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
        """What is known beside the path, such as 'epoch 5'."""
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
    recorded validation score, or the last stage's; the times of the files say nothing, and those of
    an older run than the one that ``last_checkpoint`` points to are not taken. Without a
    ``best_*.pth`` it is the one that the run would resume from; in a folder that is no run's, such
    as that of a published checkpoint, the only one.

    Args:
        path (str | Path): File, address or work directory.
        stage (str): Of a work directory, 'best': the highest score over all stages; 'last': the
            highest of the last stage. Defaults to 'best'.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If one of those to compare cannot be read.
    """
    path = str(path)
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


def _best_of_run(work_dir: Path) -> list[Path]:
    """The ``best_*.pth`` of the run that ``last_checkpoint`` points to; all, if that says nothing.

    A run that began anew in the folder of an older one leaves the older's.
    """
    files = sorted(work_dir.glob('best_*.pth'))
    wanted = _follow(work_dir / LAST)
    state = _resumable(wanted) if files and wanted else ''
    if isinstance(state, str):
        return files
    return [file for file in files if _launches(read_checkpoint(file, mmap=True))[0] == state.run]


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
    info = (content.get('message_hub') or {}).get('runtime_info') or {}
    # mmengine: best_score and best_ckpt, or best_score_<metric> and so on if there are several
    key = next((name for name in info if str(name).startswith('best_score')), '')
    score, stage = info.get(key), info.get('stage')
    is_its_own = Path(str(info.get(key.replace('score', 'ckpt', 1)))).name == path.name
    return FoundCheckpoint(
        str(path),
        stage if isinstance(stage, int) else None,
        meta.get('epoch'),
        meta.get('iter'),
        float(score) if is_its_own and isinstance(score, (int, float)) else None,
    )


def find_resumable(work_dir: str | Path, log=print) -> str | None:
    """The checkpoint that a run in a work directory resumes from.

    It is the newest whole one of the run that ``last_checkpoint`` points to: of those that the
    run's latest launch has saved, the one with most iterations. A run killed after a checkpoint
    was written and before the pointer was moved loses nothing, and what an older run has left in
    the directory is not taken. Checkpoints that record no launches (mmengine's) count as one run,
    of which the pointer chooses. Without a pointer, or where it points to nothing that can be
    read, it is the newest of all. ``best_*.pth`` has no optimizer state and is not a candidate.

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
    wanted = _follow(pointer)
    found = {file: _resumable(file) for file in files | ({wanted} - {None})}
    readable = {file: state for file, state in found.items() if not isinstance(state, str)}
    state = found.get(wanted, f'{pointer} is missing, or names no file')
    if wanted in readable:
        readable = {file: one for file, one in readable.items() if one.run == state.run}
    elif not readable:
        others = [reason for file, reason in found.items() if file != wanted]
        raise CheckpointError(
            f'nothing to resume from in {work_dir}: {"; ".join([state, *others][:3])}. Without '
            '--resume a new run starts there'
        )

    def age(file: Path) -> tuple:
        launch, iterations = readable[file].launches[-1], readable[file].iterations
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


class _State(NamedTuple):
    """Where a run stood: the times of the launches that led there, and iterations done."""

    launches: list[float]
    iterations: int

    @property
    def run(self) -> float:
        """What tells it from other runs: when it was first launched."""
        return self.launches[0]


def _follow(pointer: Path) -> Path | None:
    """What ``last_checkpoint`` names, preferably in its own folder; None if that is not a name.

    The folder may have been moved or copied since.
    """
    try:
        named = read_text(pointer).strip()
        if not named or not named.isprintable():
            return None
        here = pointer.parent / Path(named).name
        return here if here.is_file() or not Path(named).is_file() else Path(named)
    except (OSError, ValueError):  # missing, a folder, not UTF-8, too long for a name
        return None


def _resumable(path: Path) -> _State | str:
    """Where a checkpoint's run stood, or what keeps a run from resuming from it."""
    try:
        if not path.is_file():
            return f'{path} is missing'
        content = read_checkpoint(path, mmap=True)
    except (CheckpointError, OSError) as error:
        return str(error)
    absent = [key for key in RESUMABLE if not isinstance(content.get(key), Mapping)]
    if not isinstance(content.get('param_schedulers', []), (dict, list)):
        absent.append('param_schedulers')
    if absent:
        return f'{path} has no {", ".join(absent)}'
    return _State(_launches(content), content['meta'].get('iter') or 0)


def _launches(content: Mapping) -> list[float]:
    """Those of a checkpoint's run; [0.0] if it records none."""
    info = (content.get('message_hub') or {}).get('runtime_info') or {}
    return launches_of(info) or [0.0]


def launches_of(runtime_info: Mapping) -> list[float]:
    """When the processes of a run began to train; [] if that is not recorded."""
    launches = runtime_info.get(LAUNCHES)
    is_known = isinstance(launches, list) and all(isinstance(time, float) for time in launches)
    return launches if is_known else []
