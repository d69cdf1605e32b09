"""Images whose folders are their labels."""

import hashlib
from collections import defaultdict
from pathlib import Path, PurePosixPath

from mlic.files import read_bytes
from mlic.names import counted, first_names

from .labels import normalise
from .splits import SPLIT_NAMES, Image


def split_folders(files: list[str]) -> dict[str, str]:
    """{folder at the top: split}, if all of them are called like splits, else {}."""
    tops = {PurePosixPath(file).parts[0] for file in files if '/' in file}
    names = {top: SPLIT_NAMES.get(top.lower()) for top in tops}
    at_top = any('/' not in file for file in files)
    return names if 'train' in names.values() and None not in names.values() and not at_top else {}


def refuse_split_folders(files: list[str]) -> None:
    """ValueError if deep folders at the top are called like splits, which they then were not."""
    parts = [PurePosixPath(file).parts for file in files]
    named = sorted({top for top, *rest in parts if len(rest) > 1 and top.lower() in SPLIT_NAMES})
    others = ['/'.join(x) for x in parts if len(x) == 1 or x[0].lower() not in SPLIT_NAMES]
    if named:
        fault = f'{others[0]} is in none of them' if others else 'none of them is called train'
        raise ValueError(
            f'folders that are called like splits ({", ".join(named)}) are not taken for splits, '
            f'because {fault}; --nested would make labels of their names'
        )


def same_pictures(folder: Path, files: list[str]) -> list[list[str]]:
    """Files with the same bytes together, but for empty ones; only files of one size are read."""
    by_size = defaultdict(list)
    for file in files:
        by_size[(folder / file).stat().st_size].append(file)
    groups = defaultdict(list)
    for size, members in by_size.items():
        for file in members:
            is_only = len(members) == 1 or not size
            digest = file if is_only else hashlib.blake2b(read_bytes(folder / file)).digest()
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


def from_folders(folder: Path, files: list[str], nested: bool) -> tuple[list[Image], list[str]]:
    """Pictures with the labels of all folders they are in, and lines that say what was found."""
    splits = split_folders(files)
    if not splits and not nested:
        refuse_split_folders(files)
    said = [f'the folders {", ".join(sorted(splits))} are splits'] if splits else []
    pictures = same_pictures(folder, files)
    said.append(f'{counted(len(files), "file")}, {len(pictures)} different pictures')
    images, shared, names = [], [], defaultdict(list)
    for group in pictures:
        parts: dict[str | None, Image] = {}
        for file in group:
            top, *rest = PurePosixPath(file).parts
            split = splits.get(top)
            image = parts.setdefault(split, Image(file, set(), file, split))
            image.labels |= folder_labels(str(PurePosixPath(*rest)) if split else file, nested)
        images += parts.values()
        if len(parts) > 1:
            shared.append(' and '.join(image.path for image in parts.values()))
        names[PurePosixPath(group[0]).name].append(group[0])
    if shared:
        said.append(
            f'warning: {counted(len(shared), "picture")} in several splits: '
            f'{first_names(shared, 5)}. '
            'Leave each in one: a model that has seen an image in training is not tested by it'
        )
    clashes = [paths for paths in names.values() if len(paths) > 1]
    if clashes:
        said.append(
            f'{len(clashes)} names stand for different pictures, such as '
            f'{" and ".join(clashes[0][:2])}: they stay different images'
        )
    return images, said
