"""Lists of images and labels: of folders, and as text files, read line by line."""

import os
from pathlib import Path

IMAGE_SUFFIXES = (
    '.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'
)  # fmt: skip


def list_images(folder: str | Path) -> tuple[list[str], list[str]]:
    """Images by their extension, and other files, at any depth, relative to the folder.

    They are in the order of the names, folder by folder, with ``/`` between. Links to folders are
    followed, each folder is visited once, and hidden files and folders are left out.

    Raises:
        FileNotFoundError: If it is not a folder.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{folder} is not a folder')
    images, others, seen = [], [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to one of its parents
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(name for name in files if not name.startswith('.')):
            path = (Path(place) / name).relative_to(folder).as_posix()
            (images if path.lower().endswith(IMAGE_SUFFIXES) else others).append(path)
    return images, others


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file, stripped, whatever their endings and with or without a last one."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} not found; docs/datasets.md shows where it belongs')
    lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').split('\n')]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f'{path}: found 0 lines, expected at least 1')
    if '' in lines:
        raise ValueError(f'{path}, line {lines.index("") + 1} of {len(lines)}: is empty')
    return lines


def check_images(img_prefix: str, img_path: str, num_images: int, source: str) -> None:
    """Look for the image folder and the first image in it."""
    if not Path(img_prefix).is_dir():
        raise FileNotFoundError(f'{img_prefix} not found; docs/datasets.md shows where it belongs')
    if not Path(img_path).is_file():
        raise FileNotFoundError(
            f'{img_path} not found: is {img_prefix} the folder of the {num_images} images of '
            f'{source}? See docs/datasets.md'
        )
