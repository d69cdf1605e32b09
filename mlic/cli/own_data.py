"""What from_csv and from_folder share: options, and all that follows once the labels are read."""

import argparse
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mmengine.config import Config

from mlic.cli.arguments import add_number, add_seed, at_least
from mlic.cli.image_checks import CHOSEN_BY, DECODERS, SHOWN, inspect_all
from mlic.comparison import LEAST_TO_TUNE
from mlic.datasets.own_data.choices import Undecided
from mlic.datasets.own_data.config import config_text, work_dir
from mlic.datasets.own_data.labels import describe_counts, label_texts, order_classes
from mlic.datasets.own_data.splits import SPLITS, Image, check_positives, choose_splits, keep_splits
from mlic.engine.runner.folder_lock import lock_folder
from mlic.files import ESCAPED, read_bytes, write_texts
from mlic.installation import command_words

LINEAR = 'baseline_efficientnet-lite0_corel5k160_frozen'
SEPARATOR_HELP = "what separates labels, such as ';', ' ' or '\\n'; '' if a cell is one label"


@contextmanager
def say_command(tool: str, argv: list[str] | None) -> Iterator[None]:
    """Add to what is undecided the command that decides it.

    Args:
        tool (str): Below ``tools``.
        argv (list[str], optional): What was typed. None: ``sys.argv``.
    """
    try:
        yield
    except Undecided as error:
        typed = sys.argv[1:] if argv is None else argv
        words = [*command_words(tool), *map(str, typed), *error.options]
        end = '' if str(error).endswith('?') else '.'
        raise ValueError(f'{error}{end} If {error.assumed}, type: {shlex.join(words)}') from error


def parse_options(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse with the options that all tools of this kind have."""
    parser.add_argument('--out', type=Path, required=True, help='folder of the written files')
    add_number(parser, '--val', 0.1, 'share for validation', 0, below=1)
    add_number(parser, '--test', 0.2, 'share for testing', 0, below=1)
    add_seed(parser, 'of the split')
    parser.add_argument(
        '--classes',
        type=Path,
        help='file with the names of the classes, one a line, in this order; or with CODE,NAME',
    )
    parser.add_argument(
        '--unlisted',
        choices=('absent', 'unknown'),
        default='absent',
        help='what the classes that an image does not list are (%(default)s)',
    )
    parser.add_argument(
        '--splits-of',
        type=Path,
        metavar='FOLDER',
        help='an earlier OUT, whose images keep their split',
    )
    parser.add_argument('--config', type=Path, help='config to write (OUT/<name of OUT>.py)')
    parser.add_argument(
        '--epochs',
        type=at_least(2),
        help='epochs to train, at least 2 (about 400 iterations, 6 to 40 epochs)',
    )
    parser.add_argument(
        '--skip-missing', action='store_true', help='leave out what is missing, and count it'
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='decode all images, and leave out those that cannot be read (OUT/unreadable.txt)',
    )
    args = parser.parse_args(argv)
    if args.val + args.test >= 1:
        parser.error(
            f'--val and --test are shares that leave some for training: {args.val}, {args.test}'
        )
    if args.config and args.config.suffix != '.py':
        parser.error(f'--config is the name of a .py file to write: {args.config}')
    return args


def config_path(args: argparse.Namespace) -> Path:
    """Where the config is written."""
    stem = re.sub(r'\W+', '_', Path(os.path.realpath(args.out)).name).strip('_') or 'own'
    return args.config or args.out / f'{stem}.py'


def finish(
    args: argparse.Namespace, images: list[Image], folder: Path, classes: list[str] | None = None
) -> None:
    """Choose the splits, write the files, print the counts and what to do next.

    Args:
        args (argparse.Namespace): Of :func:`parse_options`.
        images (list[Image]): With their labels.
        folder (Path): Of the images.
        classes (list[str], optional): In their order. Defaults to None: as ``--classes`` says.
    """
    unreadable = {}
    if args.skip_unreadable:
        place = args.out / 'unreadable.txt'
        unreadable[place] = _drop_unreadable(images, folder, place)
    classes = classes or order_classes(images, args.classes)
    if args.splits_of:
        print(keep_splits(images, args.splits_of))
    # of images that stay in their split, none is taken for validation
    is_kept = args.splits_of and all(image.split for image in images)
    words = choose_splits(images, 0 if is_kept else args.val, args.test, args.seed)
    splits = {split: [image for image in images if image.split == split] for split in SPLITS}
    if not splits['val'] and not splits['test']:
        raise ValueError('all images are for training: give --val or --test a share')
    print(f'split: {words}', *describe_counts(images, classes), sep='\n')
    if not splits['test']:
        print(f'warning: no test images, the validation images take their place: {CHOSEN_BY}')
    check_positives(splits)
    config = config_path(args)
    tool = Path(sys.argv[0]).name
    text = config_text(config, args.out, folder, splits, classes, args.epochs, tool)
    texts = label_texts(args.out, splits, classes) | {config: text} | unreadable
    gone = [args.out / f'{split}.json' for split in SPLITS if not splits[split]]
    with lock_folder(args.out) or nullcontext():  # another may see what is there, and replace it
        before = {path: read_bytes(path) for path in (*texts, *gone) if path.exists()}
        kept = {
            path: _place_aside(path)
            for path, content in before.items()
            if path in gone or content != texts[path].encode('utf-8', ESCAPED)
        }
        write_texts(texts | {place: before[path] for path, place in kept.items()})
        for path in gone:
            path.unlink(missing_ok=True)
    for path, place in kept.items():
        if path in gone:
            print(f'{path} existed, and its split has no images: it is kept as {place}')
        else:
            print(f'{path} existed with other contents: they are kept as {place}')
    print(f'written: {config}, and the labels in {args.out}')
    run = work_dir(config)
    if any(run.glob('*.pth')):
        print(
            f'warning: {run} has checkpoints of an earlier training: remove it, or train with '
            f'--work-dir {run}_2'
        )
    print('\nnext:')
    for tool, *arguments in (
        ('dataset_tools/verify_dataset.py', config),
        ('dataset_tools/browse_dataset.py', config, '--out', config.with_suffix('.png')),
        ('train.py', config),
        ('test.py', config, run),
    ):
        print(f'  {shlex.join([*command_words(tool), *map(str, arguments)])}')
    if len(splits['train']) >= LEAST_TO_TUNE:
        print('\nto see if a linear classifier on frozen features, at a tuned rate, is as good:')
        print(f'  {shlex.join([*command_words("compare.py"), *comparison_words(config)])}')


def _drop_unreadable(images: list[Image], folder: Path, list_file: Path) -> str:
    """Take what cannot be read from the images; the text of the file that lists all of it."""
    paths = [str(folder / image.path) for image in images]
    found = inspect_all(paths, decode=True, workers=DECODERS)
    faults = [fault for fault, *_ in found.values() if fault]
    if len(faults) == len(found):
        raise ValueError(f'none of the {len(found)} images can be read: {faults[0]}')
    images[:] = [image for image, path in zip(images, paths) if not found[path][0]]
    lines = [f'  {fault}' for fault in faults[:SHOWN]]
    lines += [f'  all are in {list_file}'] * (len(faults) > SHOWN)
    print(f'{len(faults)} of {len(found)} images cannot be read (left out)', *lines, sep='\n')
    return ''.join(f'{fault}\n' for fault in faults)


def _place_aside(path: Path) -> Path:
    """Where what is at a path is kept: ``<its name>.old``, or ``.old.1`` and so on."""
    ends = itertools.chain([''], map('.{}'.format, itertools.count(1)))
    places = (path.with_name(f'{path.name}.old{end}') for end in ends)
    return next(place for place in places if not os.path.lexists(place))


def comparison_words(config: Path) -> list[str]:
    """What to type after ``tools/compare.py``: both train for the config's epochs."""
    cfg = Config.fromfile(config)
    run = work_dir(config)
    options = {
        'model.backbone.frozen_stages': 8,
        'train_cfg.max_epochs': cfg.train_cfg.max_epochs,
    }
    return [
        *(str(config), LINEAR, '--data', str(config), '--tune', '--cache-features', '--set'),
        *(f'{key}={value}' for key, value in options.items()),
        *('--seeds', '0', '1', '2', '--out', str(run.with_name(f'{run.name}_comparison'))),
    ]
