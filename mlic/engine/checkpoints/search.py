"""Which checkpoint of a work directory: the best, the latest, the one to resume from."""

from pathlib import Path
from typing import NamedTuple

from .reading import CheckpointError, read_checkpoint

LAST = 'last_checkpoint'  # mmengine's file with the name of one
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
    """

    path: str
    stage: int | None = None
    epoch: int | None = None
    iteration: int | None = None
    score: float | None = None

    def __str__(self) -> str:
        """The path, and in brackets what is known."""
        facts = [] if self.stage is None else [f'stage {self.stage}']
        if self.epoch or self.iteration:
            facts.append(f'epoch {self.epoch}' if self.epoch else f'iteration {self.iteration}')
        if self.score is not None:
            facts.append(f'validation score {self.score:.4g}')
        return f'{self.path} ({", ".join(facts)})' if facts else self.path


def find_checkpoint(path: str | Path, stage: str = 'best') -> FoundCheckpoint:
    """A checkpoint file or address, or the one that a work directory stands for.

    Of the ``best_*.pth`` that a run of several stages leaves, it is the one with the highest
    recorded validation score, or the last stage's; the times of the files say nothing. Without a
    ``best_*.pth`` it is the one that the run would resume from.

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
    best = [_read_record(file) for file in sorted(given.glob('best_*.pth'))]
    if best:
        return _choose(best, stage)
    latest = find_resumable(given)
    if latest is None:
        raise FileNotFoundError(
            f'checkpoint not found: no best_*.pth and no last_checkpoint in {path}'
        )
    return _read_record(Path(latest))


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
    content = read_checkpoint(path, ours=True, mmap=True)
    meta = content.get('meta') or {}
    info = (content.get('message_hub') or {}).get('runtime_info') or {}
    # mmengine: best_score and best_ckpt, or best_score_<metric> and so on if there are several
    key = next((name for name in info if name.startswith('best_score')), None)
    is_scored = key and Path(info.get(key.replace('score', 'ckpt', 1)) or '').name == path.name
    return FoundCheckpoint(
        str(path),
        info.get('stage'),
        meta.get('epoch'),
        meta.get('iter'),
        float(info[key]) if is_scored else None,
    )


def find_resumable(work_dir: str | Path, log=print) -> str | None:
    """The checkpoint that a run in a work directory resumes from.

    It is the one that ``last_checkpoint`` names; if that is missing or cannot be read, the
    newest other one that can. ``best_*.pth`` has no optimizer state and is no candidate.

    Args:
        work_dir (str | Path): Of the run.
        log (callable): Takes a line of notice. Defaults to print.

    Returns:
        str: A path, or None if the run has saved nothing yet.

    Raises:
        CheckpointError: If there are checkpoints and none can be resumed from.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / LAST
    named = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    files = [file for file in work_dir.glob('*.pth') if not file.name.startswith('best_')]
    if not named and not files and not pointer.exists():
        return None
    wanted, reason = None, f'{pointer} is missing or empty'
    if named:
        here = work_dir / Path(named).name  # the work directory may have been moved or copied
        wanted = here if here.is_file() else Path(named)
        reason = _resumable(wanted)
        if not isinstance(reason, str):
            return str(wanted)
    others = {file: _resumable(file) for file in files if file != wanted}
    readable = [
        (done, file.name, file) for file, done in others.items() if not isinstance(done, str)
    ]
    if not readable:
        raise CheckpointError(
            f'nothing to resume from in {work_dir}: {reason}, and no other checkpoint there can '
            'be used. Remove last_checkpoint to start anew'
        )
    newest = max(readable)[-1]
    log(f'{reason}: going on from {newest}, the newest checkpoint that can be read.')
    return str(newest)


def _resumable(path: Path) -> int | str:
    """How many iterations a checkpoint has seen, or what keeps a run from resuming from it."""
    if not path.is_file():
        return f'{path} is missing'
    try:
        content = read_checkpoint(path, ours=True, mmap=True)
    except (CheckpointError, OSError) as error:
        return str(error)
    absent = [key for key in RESUMABLE if key not in content]
    return f'{path} has no {", ".join(absent)}' if absent else content['meta'].get('iter', 0)
