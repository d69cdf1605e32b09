"""Folders of images become a data set that trains: JSON files and a config.

    python tools/dataset_tools/from_folder.py photos --out data/pets

- ``photos/cat/1.jpg`` has the label ``cat``. The same picture (the same bytes, whatever the file
  is called) in ``photos/dog`` too has both. A picture right under ``photos`` has no label.
- ``--nested``: ``photos/cat/indoors/1.jpg`` has the labels ``cat`` and ``indoors``.
- ``--sidecar``: the labels of ``1.jpg`` stand in ``1.txt`` beside it, one a line.

Folders called ``train``, ``val`` or ``test`` at the top are splits, if there are no others. Links
are followed. Written to OUT: what ``from_csv.py`` writes.
"""

import argparse
import hashlib
from collections import defaultdict
from pathlib import Path, PurePosixPath

from mlic.cli.own_data import finish, parse_options
from mlic.datasets.list_files import list_images
from mlic.datasets.own_data.labels import normalise
from mlic.datasets.own_data.splits import SPLIT_NAMES, Image
from mlic.engine.runner.errors import one_line_errors
from mlic.files import read_text
from mlic.names import first_names


def split_folders(files: list[str]) -> dict[str, str]:
    """{folder at the top: split}, if all of them are called like splits, else {}."""
    tops = {PurePosixPath(file).parts[0] for file in files if '/' in file}
    names = {top: SPLIT_NAMES.get(top.lower()) for top in tops}
    at_top = any('/' not in file for file in files)
    return names if 'train' in names.values() and None not in names.values() and not at_top else {}


def same_pictures(folder: Path, files: list[str]) -> list[list[str]]:
    """Files with the same bytes together; only files of one size are read."""
    by_size = defaultdict(list)
    for file in files:
        by_size[(folder / file).stat().st_size].append(file)
    groups = defaultdict(list)
    for size, members in by_size.items():
        for file in members:
            is_only = len(members) == 1
            digest = file if is_only else hashlib.blake2b((folder / file).read_bytes()).digest()
            groups[size, digest].append(file)
    return list(groups.values())


def folder_labels(file: str, nested: bool) -> set[str]:
    """The labels that the folders of a file give it."""
    folders = PurePosixPath(file).parts[:-1]
    if len(folders) > 1 and not nested:
        raise ValueError(
            f'{file} is {len(folders)} folders deep: with --nested it has the labels '
            f'{" and ".join(folders)}'
        )
    return {normalise(name) for name in folders}


def from_folders(folder: Path, files: list[str], nested: bool) -> list[Image]:
    """Pictures with the labels of all folders they are in."""
    splits = split_folders(files)
    if splits:
        print(f'the folders {", ".join(sorted(splits))} are splits')
    parts = defaultdict(list)
    for file in files:
        parts[splits.get(PurePosixPath(file).parts[0])].append(file)
    images = []
    for split, members in parts.items():
        for group in same_pictures(folder, members):
            labels = set()
            for file in group:
                inner = str(PurePosixPath(*PurePosixPath(file).parts[1:])) if split else file
                labels |= folder_labels(inner, nested)
            images.append(Image(group[0], labels, group[0], split))
    print(f'{len(files)} files, {len(images)} different pictures')
    names = defaultdict(list)
    for image in images:
        names[PurePosixPath(image.path).name].append(image.path)
    clashes = [paths for paths in names.values() if len(paths) > 1]
    if clashes:
        print(
            f'{len(clashes)} names stand for different pictures, such as '
            f'{" and ".join(clashes[0][:2])}: they stay different images'
        )
    return images


def from_sidecars(
    folder: Path, files: list[str], others: list[str], skip_missing: bool
) -> list[Image]:
    """Pictures with the labels of the text files beside them."""
    splits = split_folders(files)
    texts = {other for other in others if other.lower().endswith('.txt')}
    images, missing, used = [], [], set()
    for file in files:
        text = str(PurePosixPath(file).with_suffix('.txt'))
        if text not in texts:
            missing.append(file)
            continue
        used.add(text)
        labels = {normalise(line) for line in read_text(folder / text).splitlines()} - {''}
        split = splits.get(PurePosixPath(file).parts[0])
        images.append(Image(file, labels, str(folder / text), split))
    if not images:
        raise ValueError(f'none of the {len(files)} images in {folder} has a .txt file next to it')
    if missing and not skip_missing:
        raise ValueError(
            f'{len(missing)} of {len(files)} images have no .txt file next to them: '
            f'{first_names(missing, 5)}. An empty one says that there is no label; --skip-missing '
            'leaves these images out'
        )
    print(
        f'{len(images)} images with their labels next to them; without: {len(missing)} images '
        f'(left out); {len(texts - used)} .txt files without an image'
    )
    return images


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Make a data set and a config of image folders')
    parser.add_argument('folder', type=Path, help='folder of the images')
    parser.add_argument('--nested', action='store_true', help='every folder on the way is a label')
    parser.add_argument('--sidecar', action='store_true', help='labels stand in .txt files')
    args = parse_options(parser, argv)
    if args.nested and args.sidecar:
        parser.error('--nested and --sidecar exclude each other')
    files, others = map(sorted, list_images(args.folder))
    if not files:
        raise ValueError(f'no image in {args.folder}, among {len(others)} files')
    if args.sidecar:
        images = from_sidecars(args.folder, files, others, args.skip_missing)
    else:
        if others:
            print(f'{len(others)} files are no images: {first_names(others, 3)}')
        images = from_folders(args.folder, files, args.nested)
    finish(args, images, args.folder)
