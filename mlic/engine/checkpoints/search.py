"""Which checkpoint of a work directory: the best, the latest, the one to go on from."""

from __future__ import annotations

from pathlib import Path

from .reading import CheckpointError, read_checkpoint
from .writing import LAST

# what --resume needs; a best_*.pth has no optimizer
RESUMABLE = ('meta', 'state_dict', 'message_hub', 'optimizer')


def find_checkpoint(path: str) -> str:
    """A checkpoint file, or the best (else the latest readable) one of a work directory.

    Raises:
        SystemExit: If there is none.
    """
    given = Path(path)
    if not given.is_dir():
        if '://' not in path and not given.exists():
            raise SystemExit(f'checkpoint not found: {path} does not exist')
        return path
    best = sorted(given.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    if best:
        return str(best[-1])
    try:
        latest = find_resumable(given)
    except CheckpointError as error:
        raise SystemExit(f'checkpoint not found: no best_*.pth in {path}; {error}') from error
    if latest is None:
        raise SystemExit(f'checkpoint not found: no best_*.pth and no last_checkpoint in {path}')
    return latest


def find_resumable(work_dir: str | Path, log=print) -> str | None:
    """The checkpoint that a run in a work directory goes on from.

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
    wanted = _moved(Path(named), work_dir) if named else None
    if wanted is None:
        reason = f'{pointer} is missing or empty'
    else:
        reason = _why_not_resumable(wanted)
        if reason is None:
            return str(wanted)
    readable = [file for file in files if file != wanted and _why_not_resumable(file) is None]
    if not readable:
        raise CheckpointError(
            f'nothing to resume from in {work_dir}: {reason}, and no other checkpoint there can '
            'be used. Remove last_checkpoint to start anew'
        )
    newest = max(readable, key=lambda file: (_iterations(file), file.stat().st_mtime))
    log(f'{reason}: going on from {newest}, the newest checkpoint that can be read.')
    return str(newest)


def _moved(named: Path, work_dir: Path) -> Path:
    """Where a checkpoint is now, if its work directory has been moved or copied."""
    here = work_dir / named.name
    return here if here.is_file() else named


def _why_not_resumable(path: Path) -> str | None:
    """What keeps a run from going on with a file, or None."""
    if not path.is_file():
        return f'{path} is missing'
    try:
        content = read_checkpoint(path, ours=True, mmap=True)
    except (CheckpointError, OSError) as error:
        return str(error)
    absent = [key for key in RESUMABLE if key not in content]
    return f'{path} has no {", ".join(absent)}' if absent else None


def _iterations(path: Path) -> int:
    """How many iterations a checkpoint has seen."""
    return read_checkpoint(path, ours=True, mmap=True)['meta'].get('iter', 0)
