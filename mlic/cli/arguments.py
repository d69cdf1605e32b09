"""The arguments that several tools share."""

import argparse
import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from mlic.engine.checkpoints.search import STAGES
from mlic.engine.config.options import merge_options
from mlic.engine.mmengine_internals import option_value
from mlic.engine.runner.precision import PRECISIONS
from mlic.evaluation.matrices import DIFFICULT_RULES
from mlic.evaluation.thresholds import ThresholdFile, read_thresholds, stored_thresholds
from mlic.installation import find_config
from mlic.registries import load_config, set_scope

FIGURES = ('.png', '.svg', '.pdf')
PHOTOS = ('.png', '.jpg', '.pdf')
SPREAD = 'this many test images, spread evenly over the test set'


def at_least(least: float, kind: type = int, below: float = math.inf) -> Callable[[str], float]:
    """The ``type`` of an option: a finite number, at least the first and below the last."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value < below:
            most = '' if below == math.inf else f' and below {below}'
            raise argparse.ArgumentTypeError(f'must be at least {least}{most}, got {text}')
        return value

    return number


seed = at_least(0, below=2**32)  # what numpy and torch take


def file_of_kind(*suffixes: str) -> Callable[[str], Path]:
    """The ``type`` of an option that names a file of one of these kinds, or of any."""

    def path(text: str) -> Path:
        if suffixes and Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(
                f'takes a file that ends in {", ".join(suffixes)}: {text}'
            )
        return Path(text)

    return path


def out_file(*suffixes: str) -> Callable[[str], Path]:
    """The same of a file to write; a read-only folder is refused before anything is computed."""
    of_kind = file_of_kind(*suffixes)

    def path(text: str) -> Path:
        fault = _unwritable(text)
        if fault:
            raise argparse.ArgumentTypeError(fault)
        return of_kind(text)

    return path


def _unwritable(path: str) -> str | None:
    """What is wrong with a file or folder to write, whose folder may be still to be made."""
    file = Path(os.path.realpath(path))
    # a regular file is replaced; a device or pipe is written into
    places = (x for x in (file, *file.parents) if os.path.exists(x) and not os.path.isfile(x))
    place = next(places)
    return None if os.access(place, os.W_OK) else f'{path}: nothing can be written to {place}'


def keep_inputs(written: Iterable[Path | None], *read: str | Path | None) -> None:
    """ValueError if a file to write is one of those that are read."""
    for out, path in itertools.product(filter(None, written), filter(None, read)):
        if os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
            raise ValueError(f'{out} would be written, and is also an input: name another file')


def add_number(
    parser: argparse.ArgumentParser,
    name: str,
    default: float,
    what: str,
    least: float = 1,
    below: float = math.inf,
) -> None:
    """An option: a number of the default's type, at least ``least`` and below ``below``."""
    kind = at_least(least, type(default), below)
    parser.add_argument(name, type=kind, default=default, help=f'{what} (%(default)s)')


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """``--seed``, 0 if it is not given."""
    parser.add_argument('--seed', type=seed, default=0, help=f'seed {what} (%(default)s)')


def add_epochs_argument(parser: argparse.ArgumentParser) -> None:
    """``--epochs``, for :func:`mlic.engine.runner.epochs.set_epochs`."""
    what = 'train for this many epochs: stages, schedules and averages change with them'
    parser.add_argument('--epochs', type=at_least(1), help=what)


def add_split_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--split``: which images of the config are predicted."""
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='test', help='which data (test)'
    )


def add_out_argument(parser: argparse.ArgumentParser, default: str, *suffixes: str) -> None:
    """``--out``, a file of one of these kinds."""
    what = f'{", ".join(suffixes)} file to write (%(default)s)'
    parser.add_argument('--out', type=out_file(*suffixes), default=default, help=what)


def add_config_argument(
    parser: argparse.ArgumentParser, name: str = 'config', folder: str = '*', **kwargs
) -> None:
    """A config, by its path or by the name of one of those here, in this folder."""
    kwargs.setdefault('help', 'config file, or the name of one')
    parser.add_argument(name, type=lambda path: find_config(path, folder), **kwargs)


def add_stored_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config``, and ``--allow-import`` for where the config inside the checkpoint is used."""
    what = 'config file, or the name of one (the config inside the checkpoint)'
    add_config_argument(parser, '--config', help=what)
    parser.add_argument(
        '--allow-import',
        action='append',
        default=[],
        metavar='PACKAGE',
        help='a package that the config inside the checkpoint may import; may be repeated '
        '(only those of this installation)',
    )


class OptionsAction(DictAction):
    """mmengine's ``DictAction``, but for two things.

    What is no ``KEY=VALUE`` is a usage error. Blanks within a value, such as a path, stay.
    """

    _parse_iterable = staticmethod(option_value)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for text in values:
            try:
                if not text.partition('=')[0]:
                    raise ValueError(text)
                super().__call__(parser, argparse.Namespace(), [text])
            except (AssertionError, ValueError):  # brackets that do not close, or no "="
                message = f'expected KEY=VALUE, got {text!r}'
                raise argparse.ArgumentError(self, message) from None
        super().__call__(parser, namespace, values, option_string)


def add_cfg_options(
    parser: argparse.ArgumentParser, example: str = 'train_dataloader.dataset.data_root=/data/coco'
) -> None:
    """``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        help=f'config entries to replace, such as {example}',
    )


def read_config(args: argparse.Namespace) -> Config:
    """The config of the command line, with its ``--cfg-options``; its registry scope is set."""
    cfg = load_config(args.config)
    merge_options(cfg, args.cfg_options)
    set_scope(cfg)
    return cfg


def add_checkpoint_arguments(
    parser: argparse.ArgumentParser, name: str = 'checkpoint', **kwargs
) -> None:
    """The checkpoint, positional or the option of that name, and ``--stage``."""
    kwargs.setdefault('help', 'checkpoint file, or a work directory: its best (else latest) one')
    parser.add_argument(name, **kwargs)
    parser.add_argument(
        '--stage',
        choices=STAGES,
        default='best',
        help='of a work directory: the best checkpoint of all stages or of the last (%(default)s)',
    )


def add_threshold_argument(
    parser: argparse.ArgumentParser,
    what: str,
    default: str | None = '0.5',
    without: str = "the protocol's own",
) -> None:
    """``--threshold T|FILE``, for :func:`mlic.evaluation.thresholds.parse_score_threshold`.

    ``without`` says what decides if it is not given and ``default`` is None.
    """
    parser.add_argument(
        '--threshold',
        metavar='T|FILE',
        default=default,
        help=f'{what}: a number, or a .json or .csv file with one per class ({default or without})',
    )


def add_own_threshold_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """``--threshold T|FILE`` of a tool that opens a model, for :func:`given_or_own`."""
    add_threshold_argument(parser, what, None, "the checkpoint's own, else 0.5")


def given_or_own(
    given: float | ThresholdFile | None, own: ThresholdFile | None
) -> float | ThresholdFile:
    """What ``--threshold`` gave, else the model's own, which a line then says, else 0.5."""
    if given is None and own:
        print(f'thresholds: {own}; --threshold 0.5 uses one for all')
    return (own or 0.5) if given is None else given


def add_stored_threshold_argument(
    parser: argparse.ArgumentParser, what: str = 'to store in the model'
) -> None:
    """``--threshold FILE`` of a tool for models that are given away."""
    parser.add_argument(
        '--threshold',
        metavar='FILE',
        type=file_of_kind('.json', '.csv'),
        help=f"fit_thresholds.py's file, {what} (the checkpoint's own thresholds)",
    )


def model_thresholds(
    path: Path | None, own: ThresholdFile | None, classes: Sequence[str]
) -> ThresholdFile | None:
    """Those of the file that ``--threshold`` gave, checked; else the checkpoint's own."""
    if path is None:
        return own
    return stored_thresholds(read_thresholds(path).content(), classes, str(path))


def add_precision_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """``--precision``."""
    taken = default or "the config's eval_precision"
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=default,
        help=f'precision that the model computes in ({taken})',
    )


def add_tta_argument(parser: argparse.ArgumentParser) -> None:
    """``--tta``, which :func:`mlic.engine.runner.tta.parse_tta` reads."""
    parser.add_argument(
        '--tta',
        nargs='+',
        metavar='flip|scales=S,S',
        help='average the scores over views of each image: flip adds its mirror image, '
        'scales=448,576 views it at these side lengths in pixels (one view)',
    )


def add_difficult_argument(parser: argparse.ArgumentParser) -> None:
    """``--difficult``."""
    parser.add_argument(
        '--difficult',
        choices=DIFFICULT_RULES,
        default='ignore',
        help='what difficult entries count as (%(default)s)',
    )


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """``--work-dir``, ``--launcher`` and what launchers add; for :func:`read_run_config`."""
    parser.add_argument('--work-dir', help='logs and checkpoints go here (work_dirs/<config>)')
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    what = 'what started the processes; none: there is only one (none)'
    parser.add_argument('--launcher', choices=launchers, default='none', help=what)
    what = 'set by some launchers'
    parser.add_argument('--local_rank', '--local-rank', type=at_least(0), default=0, help=what)


def read_run_config(args: argparse.Namespace, *needed: str) -> Config:
    """The config of the command line, with launcher and work directory.

    Raises:
        SystemExit: If torchrun started several processes that do not know of one another, the
            config lacks one of the ``needed`` entries, or the work directory is read-only.
    """
    processes = os.environ.get('WORLD_SIZE', '1')
    if args.launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ and processes != '1':
        raise SystemExit(
            f'torchrun started {processes} processes, and each would do all of the work: add '
            '--launcher pytorch'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args)
    lacking = [key for key in needed if cfg.get(key) is None]
    if lacking:
        raise SystemExit(f'{args.config}: the config has no {", ".join(lacking)}')
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    fault = _unwritable(cfg.work_dir)
    if fault and not args.dry_run:
        raise SystemExit(f'{fault}; --work-dir FOLDER chooses another place for logs')
    return cfg


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument('--device', help='cpu or cuda:1, say (the GPU if there is one)')
