"""Turn folders of images into a data set and a config.

    python tools/dataset_tools/from_folder.py photos --out data/pets

- ``photos/cat/1.jpg`` has the label ``cat``. The same picture (the same bytes, whatever the file
  is called) in ``photos/dog`` too has both. A picture right under ``photos`` has no label.
  With ``--sep ,`` it may be in ``photos/cat,dog``, too.
- ``--nested``: ``photos/cat/indoors/1.jpg`` has the labels ``cat`` and ``indoors``.
- ``--sidecar``: the labels of ``1.jpg`` are in ``1.txt`` or ``1.jpg.txt`` next to it, one a line or
  with commas between, or as YOLO boxes, whose classes ``classes.txt``, ``obj.names`` or
  ``data.yaml`` names. OUT is then a folder where these are not looked for.

Folders called ``train``, ``val`` or ``test`` at the top are splits, if there are no others; a
picture in two of them stays in both, with a warning. Links are followed. Written to OUT: what
``from_csv.py`` writes.
"""

import argparse
import os
from pathlib import Path

from mlic.cli.own_data import SEPARATOR_HELP, config_path, finish, parse_options, say_command
from mlic.datasets.list_files import list_images
from mlic.datasets.own_data.cells import MARKS, MARKS_IN_NAMES, also_cut, in_words, marks_between
from mlic.datasets.own_data.choices import Undecided, spell, unspell
from mlic.datasets.own_data.folders import from_folders
from mlic.datasets.own_data.labels import normalise
from mlic.datasets.own_data.sidecars import from_sidecars
from mlic.datasets.own_data.splits import Image
from mlic.engine.runner.errors import one_line_errors
from mlic.names import counted, first_names


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Make a data set and a config of image folders')
    parser.add_argument('folder', type=Path, help='folder of the images')
    parser.add_argument('--nested', action='store_true', help='every folder on the path is a label')
    parser.add_argument(
        '--sidecar', action='store_true', help='labels are in .txt files next to images'
    )
    parser.add_argument('--sep', type=unspell, help=f'in folders or texts, {SEPARATOR_HELP}')
    args = parse_options(parser, argv)
    if args.nested and args.sidecar:
        parser.error('--nested and --sidecar exclude each other')
    files, others = map(sorted, list_images(args.folder))
    if not files:
        raise ValueError(f'no image in {args.folder}, among {counted(len(others), "file")}')
    _check_out(args, files)
    files = _present(args.folder, files, args.skip_missing)
    classes = None
    if args.sidecar:
        with say_command('dataset_tools/from_folder.py', argv):
            images, classes, said = from_sidecars(
                args.folder, files, others, args.skip_missing, args.sep, args.classes, args.out
            )
    else:
        if others:
            print(f'{counted(len(others), "file")} left out (not images): {first_names(others, 3)}')
        images, said = from_folders(args.folder, files, args.nested)
        _check_labels(args.folder, images)
        with say_command('dataset_tools/from_folder.py', argv):
            _cut_names(images, args.folder, args.sep)
    for image in images:
        image.complete = args.unlisted == 'absent'
    print(*said, sep='\n')
    finish(args, images, args.folder, classes)


def _check_labels(folder: Path, images: list[Image]) -> None:
    """ValueError unless folders tell images apart, as one around all of them does not."""
    labels = [image.labels for image in images]
    names = set().union(*labels)
    fault = ''
    if not names:
        fault = f'none of the {len(images)} images in {folder} is in the folder of a label'
    elif 'JPEGImages' in names:
        fault = f"{folder} is of Pascal VOC's form, which needs no tool (docs/datasets.md)"
    elif len(images) > 1 and all(found == names for found in labels):
        fault = f'each of the {len(images)} images in {folder} would have the label'
        fault += f'{"s" * (len(names) > 1)} {" and ".join(sorted(names))}'
    if fault:
        raise ValueError(
            f'{fault}. Labels in a table or JSON are read by from_csv.py, those in .txt files with '
            '--sidecar'
        )


def _cut_names(images: list[Image], folder: Path, sep: str | None) -> None:
    """Cut the names of folders at what separates labels; Undecided if they may hold several."""
    names = sorted(set().union(*(image.labels for image in images)))
    between = marks_between(names, [*MARKS, *MARKS_IN_NAMES, ' ']) if sep is None else {}
    for mark, name in between.items():
        raise Undecided(
            f"{folder}: folders are called {name!r} and like its parts: one label (--sep '') or "
            f"several (--sep '{spell(mark)}'){also_cut(names, mark)}?",
            f'{in_words(mark)} separate labels',
            ['--sep', spell(mark)],
        )
    for image in images if sep else ():
        parts = {normalise(part) for name in image.labels for part in name.split(sep)}
        image.labels = parts - {''}


def _check_out(args: argparse.Namespace, files: list[str]) -> None:
    """ValueError if some of the images are what is written: a sheet of images of another run."""
    folder = args.folder.resolve()
    for path in (args.out, config_path(args).with_suffix('.png')):
        place = Path(os.path.realpath(path))  # resolve() fails at a link to itself
        if folder not in place.parents:
            continue
        inside = f'{place.relative_to(folder).as_posix()}/'
        written = [file for file in files if f'{file}/'.startswith(inside)]
        if written:
            raise ValueError(
                f'{args.folder / written[0]} is where this tool and browse_dataset.py write, and '
                f'would be an image to learn from: give an --out outside of {args.folder}'
            )


def _present(folder: Path, files: list[str], skip_missing: bool) -> list[str]:
    """The images but for links to nothing, which are refused or counted."""
    present = [file for file in files if (folder / file).exists()]
    missing = sorted({*files} - {*present})
    if not missing:
        return files
    found = f'{len(missing)} of {len(files)} images are links to nothing: {first_names(missing, 5)}'
    if not skip_missing:
        raise ValueError(f'{found}; --skip-missing leaves them out')
    print(f'{found} (left out)')
    return present
