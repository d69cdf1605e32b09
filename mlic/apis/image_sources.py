"""Which images a user means: files, folders, patterns and addresses become a list."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXTENSIONS = {
    '.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'
}  # fmt: skip


class ImageSources(NamedTuple):
    """Paths and addresses of images, each once, and how many files of folders are none."""

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
    images: dict[str, None] = {}
    num_others = 0
    for source in sources:
        if '://' in source:
            found = [source]
        elif os.path.isdir(source):
            files = list(_walk(source))
            found = [file for file in files if Path(file).suffix.lower() in EXTENSIONS]
            num_others += len(files) - len(found)
            if not found:
                raise FileNotFoundError(f'no image in the folder {source} ({len(files)} files)')
        elif os.path.exists(source):
            found = [source]
        elif glob.has_magic(source):
            found = sorted(filter(os.path.isfile, glob.glob(source, recursive=True)))
            if not found:
                raise FileNotFoundError(f'no file fits the pattern {source}')
        else:
            raise FileNotFoundError(f'image not found: {source} does not exist')
        images.update(dict.fromkeys(found))
    return ImageSources(list(images), num_others)


def _walk(folder: str) -> Iterator[str]:
    """Files at any depth, through links to folders, too, but each folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (os.path.join(place, name) for name in sorted(files) if name[0] != '.')
