"""Runs of a comparison: started in processes of their own, found again when they are done."""

import hashlib
import os
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mmengine.config import Config

from mlic.datasets.wrappers import inner_configs
from mlic.engine.checkpoints.search import find_checkpoint, find_resumable, has_saved
from mlic.engine.runner.folder_lock import lock_folder
from mlic.files import read_json, write_json, write_text
from mlic.installation import PACKAGE
from mlic.names import counted

from .processes import Processes
from .recipes import recipe_text
from .sources import code_of, commit, digest, files_in, label_files
from .training_record import TrainingRecord

PROGRESS = re.compile(r'Epoch\(train\)\s+(\[\d+\]\[\s*\d+/\d+\]).*?eta: (\S+)')
SECONDS_BETWEEN_LINES = 60
SECONDS_TO_END = 5  # after Ctrl+C
NOT_FINITE = re.compile(r'gradients? (that is|are) not finite')  # what FiniteLossHook says


class RunError(RuntimeError):
    """A run that failed."""


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Args:
        name (str): Of the config.
        seed (int): Of the run.
        text (str): The whole config, see :func:`recipe_text`.
        folder (Path): Its files are here, and nobody else's.
        checkpoint (str): 'last' or 'best', what is tested.
        code (str): A hash of the sources of ``mlic`` and of the modules that the config imports.
    """

    name: str
    seed: int
    text: str
    folder: Path
    checkpoint: str
    code: str = ''

    @classmethod
    def of(cls, name: str, seed: int, cfg: Config, out: Path, checkpoint: str) -> 'Run':
        """The run of a config.

        Its folder's name has config, seed and a hash of all settings and of the files that they
        name, such as annotations, weights and word vectors, and that labels are read from; images
        are not looked at. What a training set draws (``draw_seed``) is drawn by the run's seed.
        """
        randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
        cfg = Config({**cfg.to_dict(), 'randomness': randomness})
        if cfg.get('load_from'):
            cfg.load_from = cfg.load_from.replace('{seed}', str(seed))
        for dataset in inner_configs(cfg.train_dataloader.dataset):
            if 'draw_seed' in dataset:
                dataset.draw_seed = seed
        text = recipe_text(cfg)
        loaders = filter(
            None, (cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test'))
        )
        labels = (label_files(one) for x in loaders for one in inner_configs(x.dataset))
        files = [digest(path) for path in chain(files_in(cfg.to_dict()), *labels)]
        key = hashlib.sha256(f'{text}{checkpoint}{files}'.encode()).hexdigest()[:8]
        imports = (cfg.get('custom_imports') or {}).get('imports') or ()
        code = code_of(('mlic', *([imports] if isinstance(imports, str) else imports)))
        return cls(name, seed, text, out / 'runs' / name / f'seed{seed}-{key}', checkpoint, code)

    @property
    def predictions(self) -> Path:
        """What ``tools/test.py`` saves."""
        return self.folder / 'predictions.npz'

    @property
    def train_dir(self) -> Path:
        """The work directory of its training."""
        return self.folder / 'train'

    @property
    def record(self) -> Path:
        """Written when all is done: seconds and commit."""
        return self.folder / 'run.json'

    def read_record(self) -> tuple[float, str]:
        """Seconds of training, and commit; several have a comma and a blank between them.

        Raises:
            FileNotFoundError, ValueError: If there is no record, or not one of these.
        """
        record = read_json(self.record)
        try:
            return record['train_seconds'], record['commit']
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'{self.record}: no record with train_seconds and commit; without it the run is '
                'done again'
            ) from error

    def is_done(self) -> bool:
        """Whether its predictions are there."""
        return self.record.is_file() and self.predictions.is_file()

    def is_of_other_code(self) -> bool:
        """Whether it was done or begun by other sources than there are now, as far as it says."""
        try:
            if self.is_done():
                record = read_json(self.record)
                return isinstance(record, dict) and record.get('code', self.code) != self.code
            begun = TrainingRecord.read(self.folder).code if has_saved(self.train_dir) else ()
            return any(code != self.code for code in begun)
        except ValueError:  # said after, or when, the others have run
            return False

    def is_known_not_to_be_finite(self) -> bool:
        """Whether these sources have tried it, and its losses or gradients were not finite."""
        try:
            record = TrainingRecord.read(self.folder)
        except ValueError:
            return False
        return record.not_finite and record.code[-1:] == [self.code]


def run_all(
    runs: Sequence[Run], slots: Sequence[dict], log: Callable[[str], None] = print
) -> dict[Run, str]:
    """Train and test those that are not done, in their order.

    Args:
        runs (Sequence[Run]): In the order in which they are wanted.
        slots (Sequence[dict]): Environment variables of each of the processes at once.
        log (callable): Takes a line of progress.

    Returns:
        dict[Run, str]: Those that failed, each with the reason.
    """
    todo = [run for run in runs if not run.is_done()]
    log(f'{counted(len(runs), "run")}: {len(runs) - len(todo)} done before, {len(todo)} to do')
    older = [run for run in runs if run.is_of_other_code()]
    if older:
        log(
            f'warning: sources have changed since {len(older)} of those were done or begun: what '
            f'is to be done again, remove, such as {older[0].folder}'
        )
    free: queue.Queue = queue.Queue()
    for slot in slots:
        free.put(slot)
    failed: dict[Run, str] = {}
    started = time.time()
    processes = Processes()
    with ThreadPoolExecutor(len(slots)) as pool:
        waiting: dict[Future, Run] = {
            pool.submit(_run_in_slot, run, free, processes): run for run in todo
        }
        try:
            while waiting:
                done, _ = wait(waiting, SECONDS_BETWEEN_LINES, FIRST_COMPLETED)
                if not done:
                    log(_progress(waiting.values()))
                for future in done:
                    run = waiting.pop(future)
                    error = future.exception()
                    if error is not None:
                        failed[run] = str(error)
                    finished = len(todo) - len(waiting)
                    left = (time.time() - started) / finished * len(waiting) / 60
                    state = 'failed' if error else 'done'
                    log(
                        f'[{finished}/{len(todo)}] {run.name} seed {run.seed} {state}; '
                        f'about {left:.0f} min left'
                    )
        except BaseException as error:
            for future in waiting:
                future.cancel()
            # a terminal sends Ctrl+C to all; SIGTERM, which brings a status, may be for this alone
            is_of_all = isinstance(error, KeyboardInterrupt) and not error.args
            processes.end(patience=SECONDS_TO_END if is_of_all else 0)
            raise
    return failed


def _run_in_slot(run: Run, free: queue.Queue, processes: Processes) -> None:
    """Wait for a free slot, and do a run there."""
    slot = free.get()
    try:
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get('PYTHONPATH'))))
        _train_and_test(run, {**os.environ, **slot, 'PYTHONPATH': path}, processes)
    finally:
        free.put(slot)


def _train_and_test(run: Run, environment: dict, processes: Processes) -> None:
    """Both tools in turn; an interrupted training resumes from its last checkpoint."""
    with lock_folder(run.folder) or nullcontext():
        if run.is_done():  # by another comparison, after this one has begun
            return
        with lock_folder(run.train_dir) or nullcontext():
            pass  # no training of a comparison that was killed still runs in it
        config = run.folder / 'recipe.py'
        write_text(config, run.text)
        training = _train(run, config, environment, processes)
        trained, work_dir = time.time(), str(run.train_dir)
        best = run.checkpoint == 'best'
        checkpoint = find_checkpoint(work_dir).path if best else str(find_resumable(work_dir))
        _call(run, processes, 'test', environment, config, checkpoint, '--out', run.predictions)
        record = dict(
            name=run.name,
            seed=run.seed,
            checkpoint=checkpoint,
            commit=', '.join(training.commits),
            code=', '.join(training.code),
            train_seconds=round(training.seconds, 1),
            test_seconds=round(time.time() - trained, 1),
            threads=environment.get('OMP_NUM_THREADS', ''),
        )
        write_json(run.record, record)


def _train(run: Run, config: Path, environment: dict, processes: Processes) -> TrainingRecord:
    """What is left of a training; nothing, if its record says that it is through."""
    training = TrainingRecord.read(run.folder) if has_saved(run.train_dir) else TrainingRecord()
    if training.last and Path(find_resumable(run.train_dir) or '').name == training.last:
        return training
    training.begin(run.folder, run.code, commit())
    started = time.time()
    try:
        _call(run, processes, 'train', environment, config, '--resume')
        training.last = Path(find_resumable(run.train_dir) or '').name
    except RunError as error:
        training.not_finite = NOT_FINITE.search(str(error)) is not None
        raise
    finally:
        training.seconds += time.time() - started
        training.write(run.folder)
    return training


def _call(run: Run, processes: Processes, tool: str, environment: dict, *arguments: object) -> None:
    """A tool in a process of its own; RunError with the last line of what it printed.

    Its work directory is not next to the recipe: the Runner writes its own copy of that.
    """
    output = run.folder / f'{tool}.out'
    arguments = [*map(str, arguments), '--work-dir', str(run.folder / tool)]
    with output.open('wb') as file:
        code = processes.call(
            [sys.executable, '-m', 'mlic', tool, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    if code < 0:
        memory = '; out of memory?' * (code == -signal.SIGKILL)
        reason = f'signal {-code}, {signal.strsignal(-code)}{memory}'
        raise RunError(f'mlic {tool} was ended by {reason} ({output})')
    if code:
        lines = output.read_text(errors='replace').strip().splitlines()
        raise RunError(f'mlic {tool}: {lines[-1] if lines else f"status {code}"} ({output})')


def _progress(runs: Sequence[Run]) -> str:
    """Where the running ones are, from what they printed."""
    parts = []
    for run in runs:
        output = run.folder / 'train.out'
        if output.is_file() and not run.is_done():
            found = PROGRESS.findall(output.read_text(errors='replace'))
            if found:
                parts.append(
                    f'{run.name} seed {run.seed}: epoch {found[-1][0]}, {found[-1][1]} left'
                )
    return '; '.join(parts) or 'starting'
