"""What verify_dataset looks for in image files: missing, broken, or in two splits."""

import hashlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path

import cv2
from mmengine.config import Config
from mmengine.utils import ProgressBar

from mlic.cores import usable_cores
from mlic.image_reader import ImageReadError, read_image
from mlic.names import counted, first_names

SHOWN = 10  # broken images or names on the screen
CHOSEN_BY = 'the best checkpoint is chosen on the images it is tested on, which flatters it'
DARK = 15  # what 12 bits in a file of 16 become
DECODERS = min(usable_cores(), 16)  # processes
CHUNK = 32  # images that a process is handed at a time


def is_chosen_on_test_images(cfg: Config) -> bool:
    """Whether a config's best checkpoint is: it validates on the test images."""
    val, test = (cfg.get(f'{split}_dataloader') or {} for split in ('val', 'test'))
    return 'dataset' in test and val.get('dataset') == test['dataset']


@dataclass
class Split:
    """What was read of a split: its data set, and the path of each image that is a file."""

    name: str
    dataset_type: str
    classes: list[str] | None
    dataset: Sequence
    paths: list[str] = field(default_factory=list)

    def labels_of(self, index: int) -> tuple[object, object]:
        """What the data set gives as labels of an image, and as unknown ones: lists, if sound."""
        info = self.dataset.get_data_info(index)
        found = info.get('gt_label'), info.get('gt_label_unknown', ())
        labels, unknown = (x.tolist() if hasattr(x, 'tolist') else x for x in found)
        return labels, unknown


@dataclass
class Findings:
    """What is wrong, in the order found, and a line for each broken image."""

    problems: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Say a problem and keep it."""
        print(f'  WRONG: {problem}')
        self.problems.append(problem)


def inspect(path: str, decode: bool) -> tuple[str | None, str | None, bool]:
    """(fault, digest of the bytes, nearly black?) of an image file; told if it is decoded."""
    if '://' not in path and not os.path.isfile(path):
        found = os.path.exists(path)
        return f'{path}: {"not a regular file" if found else "image not found"}', None, False
    if not decode:
        return None, None, False
    try:
        is_dark = read_image(path).max() <= DARK
        digest = None
        if '://' not in path:
            digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except (ImageReadError, OSError) as error:
        return str(error), None, False
    return None, digest, bool(is_dark)


def inspect_all(paths: list[str], decode: bool, workers: int) -> dict[str, tuple]:
    """{path: what :func:`inspect` returns}, in parallel."""
    bar = ProgressBar(len(paths), bar_width=30, file=sys.stderr) if sys.stderr.isatty() else None

    def collect(outcomes) -> dict[str, tuple]:
        found = {}
        for path, outcome in zip(paths, outcomes):
            found[path] = outcome
            if bar and (len(found) % CHUNK == 0 or len(found) == len(paths)):
                bar.update(len(found) - bar.completed)
        if bar:
            print(file=sys.stderr)
        return found

    check = partial(inspect, decode=decode)
    if not decode or not workers:
        return collect(map(check, paths))
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        outcomes = pool.map(check, paths, chunksize=CHUNK)
    except BaseException:  # such as that the system starts no more: those that run would wait
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    try:
        with pool:
            return collect(outcomes)
    except BrokenProcessPool as error:
        raise ValueError(
            'a process that decodes images died: out of memory, or an image that crashes the '
            'decoder; verify_dataset.py --workers 0 decodes in its own process'
        ) from error


def _start_worker() -> None:
    """One thread decodes, and the process ends with its parent, also when that is killed."""
    cv2.setNumThreads(0)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def check_files(splits: list[Split], decode: bool, workers: int, findings: Findings) -> None:
    """Find missing and broken images, and images that are in two splits."""
    paths = sorted({path for split in splits for path in split.paths})
    outcomes = inspect_all(paths, decode, workers)
    good = sum(fault is None for fault, _, _ in outcomes.values())
    print(f'{good} of {len(paths)} image files {"decoded" if decode else "found"}')
    dark = [path for path, (_, _, is_dark) in outcomes.items() if is_dark]
    if dark:
        print(
            f'  warning: nearly black, at most {DARK} of 255: {counted(len(dark), "image")}, such '
            f'as {dark[0]}; only the upper 8 of 16 bits are used: multiply 12-bit values by 16'
        )
    findings.broken = [fault for fault, _, _ in outcomes.values() if fault]
    for split in splits:
        faults = [outcomes[path][0] for path in split.paths if outcomes[path][0]]
        if faults:
            missing = sum(fault.endswith('image not found') for fault in faults)
            findings.add(
                f'{split.name}: of {len(split.paths)} images, {missing} missing and '
                f'{len(faults) - missing} unreadable:'
            )
            for fault in faults[:SHOWN]:
                print(f'    {fault}')
    if findings.broken and any(split.dataset_type == 'MultiLabelDataset' for split in splits):
        print('  from_csv.py and from_folder.py leave such images out with --skip-unreadable')
    digests = {path: digest for path, (_, digest, _) in outcomes.items() if digest}
    for first, second in combinations(splits, 2):
        check_leak(first, second, digests, findings)


def check_leak(first: Split, second: Split, digests: dict[str, str], findings: Findings) -> None:
    """Find images of one split in another, by their paths and by the bytes of their files."""
    shared = set(first.paths) & set(second.paths)
    if shared and set(first.paths) == set(second.paths) and first.name != 'train':
        print(f'{first.name} and {second.name} are the same images\n  warning: {CHOSEN_BY}')
        return
    if shared:
        findings.add(
            f'{second.name}: {len(shared)} of {len(second.paths)} images also in {first.name}: '
            f'{first_names(sorted(shared), form=repr)}'
        )
    of_digest = {digests[path]: path for path in first.paths if path in digests}
    copies = [(of_digest.get(digests.get(path)), path) for path in second.paths]
    copies = [pair for pair in copies if pair[0] not in (None, pair[1]) and pair[1] not in shared]
    if copies:
        findings.add(
            f'{second.name}: {len(copies)} of {len(second.paths)} images are copies of some in '
            f'{first.name}, such as {" and ".join(copies[0])}'
        )
