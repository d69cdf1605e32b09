"""Which images a user means: files, folders, patterns and addresses become a list."""

import functools
import glob
import os
from collections.abc import Sequence
from typing import NamedTuple

from mlic.datasets.list_files import list_images


class ImageSources(NamedTuple):
    """Paths and addresses of images, each once, and how many files of folders are none.

    A file that is reached by two paths, by a folder and by a link to it, is listed by the first.
    """

    images: list[str]
    num_others: int


def collect_images(sources: Sequence[str]) -> ImageSources:
    """List the images of files, folders, patterns and addresses, in the order given.

    Args:
        sources (Sequence[str]): A file, whatever its name; a folder, of which every image by its
            extension is taken, at any depth, in the order of the names, without hidden files; a
            pattern such as ``photos/**/*.jpg``; or an address (``https://``).

    Raises:
        FileNotFoundError: If a source does not exist, or holds no image.
    """
    images: dict[tuple[str, str], str] = {}
    num_others = 0
    real_folder = functools.cache(os.path.realpath)
    for source in sources:
        if '://' in source:
            found = [source]
        elif os.path.isdir(source):
            found, others = list_images(source)
            found = [os.path.join(source, file) for file in found]
            num_others += len(others)
            if not found:
                raise FileNotFoundError(f'no image in the folder {source} ({len(others)} files)')
        elif os.path.exists(source):
            found = [source]
        elif glob.has_magic(source):
            found = sorted(filter(os.path.isfile, glob.glob(source, recursive=True)))
            if not found:
                raise FileNotFoundError(f'no file fits the pattern {source}')
        else:
            raise FileNotFoundError(f'image not found: {source} does not exist')
        for path in found:
            folder, name = os.path.split(path)
            place = folder if '://' in source else real_folder(folder)
            images.setdefault((place, name), path)
    return ImageSources(list(images.values()), num_others)
