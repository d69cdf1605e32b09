"""Which images a user means: files, folders, patterns and addresses become a list."""

import functools
import glob
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from mlic.datasets.list_files import list_images, walk_folders
from mlic.names import counted

ANY_DEPTH = re.compile(r'(?:^|(?<=[/\\]))\*\*(?:[/\\]+|$)')  # the part ** of a pattern


class ImageSources(NamedTuple):
    """Paths and addresses of images, each once, and how many files of folders are none.

    A file that is reached by two paths, by a folder and by a link to it, is listed by the first.
    """

    images: list[str]
    num_others: int


def collect_images(
    sources: str | os.PathLike | Sequence[str | os.PathLike],
) -> ImageSources:
    """List the images of files, folders, patterns and addresses, in the order given.

    Args:
        sources (str | os.PathLike | Sequence): One or several: a file, whatever its name; a
            folder, of which every image by its extension is taken, at any depth, in the order of
            the names, without hidden files; a pattern such as ``photos/**/*.jpg``; or an address
            (``https://``). Folders and ``**`` follow links, but to folders that these are in.

    Raises:
        FileNotFoundError: If a source does not exist, or holds no image.
    """
    images: dict[tuple[str, str], str] = {}
    num_others = 0
    real_folder = functools.cache(os.path.realpath)
    sources = [sources] if isinstance(sources, str | os.PathLike) else sources
    for source in map(os.fsdecode, sources):
        if '://' in source:
            found = [source]
        elif os.path.isdir(source):
            found, others = list_images(source)
            found = [os.path.join(source, file) for file in found]
            num_others += len(others)
            if not found:
                holds = counted(len(others), 'file')
                raise FileNotFoundError(f'no image in the folder {source} ({holds})')
        elif os.path.exists(source):
            found = [source]
        elif glob.has_magic(source):
            found = sorted(_fitting_files(source))
            if not found:
                raise FileNotFoundError(f'no file fits the pattern {source}')
        else:
            raise FileNotFoundError(f'image not found: {source} does not exist')
        for path in found:
            folder, name = os.path.split(path)
            place = folder if '://' in source else real_folder(folder)
            images.setdefault((place, name), path)
    return ImageSources(list(images.values()), num_others)


def _fitting_files(pattern: str) -> set[str]:
    """The files of a pattern; glob would follow links to their own folders from ``**``."""
    before, *after = ANY_DEPTH.split(pattern, maxsplit=1)
    if not after:
        return set(filter(os.path.isfile, glob.glob(pattern)))
    places = [
        os.path.join(folder, inside)
        for folder in (glob.glob(before) if before else [''])
        for inside, _ in walk_folders(folder or os.curdir)
    ]
    parts = [os.path.join(glob.escape(place), after[0] or '*') for place in places]
    return set().union(*map(_fitting_files, parts))
