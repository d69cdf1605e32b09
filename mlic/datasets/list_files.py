"""Lists of images and labels: of folders, and as text files, read line by line."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.logging import print_log

IMAGE_SUFFIXES = (
    '.avif', '.bmp', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm',
    '.pgm', '.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip


def list_images(folder: str | Path) -> tuple[list[str], list[str]]:
    """Images by their extension, and other files, at any depth, relative to the folder.

    They are in the order of the names, folder by folder, with ``/`` between. Links to folders are
    followed, each folder is visited once, and hidden files and folders are left out. What is no
    regular file (a pipe, a link to a device) is no image; a link to nothing is a missing one.

    Raises:
        FileNotFoundError: If it is not a folder.
        OSError: If a folder cannot be listed.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{folder} is not a folder')
    images, others, seen = [], [], set()
    for place, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to one of its parents
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(name for name in files if not name.startswith('.')):
            full = os.path.join(place, name)
            path = Path(full).relative_to(folder).as_posix()
            is_image = path.lower().endswith(IMAGE_SUFFIXES)
            is_image = is_image and (os.path.isfile(full) or not os.path.exists(full))
            (images if is_image else others).append(path)
    return images, others


def _fail(error: OSError) -> None:
    """For os.walk, which would leave out a folder that it cannot list."""
    raise error


def check_exists(path: str | Path, exists: Callable = Path.is_file) -> None:
    """FileNotFoundError if a file (or a folder, with ``Path.is_dir``) of a data set is missing."""
    if not exists(Path(path)):
        raise FileNotFoundError(f'{path} not found; docs/datasets.md shows where it belongs')


def check_files(folder: str | Path, names: Sequence[str], source: str) -> None:
    """Look for all files in one listing of a folder."""
    check_exists(folder, Path.is_dir)
    present = set(os.listdir(folder))
    missing = [name for name in names if name not in present]
    if missing:
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of the {len(names)} files of {source} not found, such as '
            f'{missing[0]}'
        )


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file, stripped, whatever their endings and with or without a last one."""
    check_exists(path)
    lines = [line.strip() for line in Path(path).read_text(encoding='utf-8-sig').split('\n')]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f'{path}: found 0 lines, expected at least 1')
    if '' in lines:
        raise ValueError(f'{path}, line {lines.index("") + 1} of {len(lines)}: is empty')
    return lines


def used_images(
    items: list[dict],
    img_prefix: str,
    source: str | Path,
    of: str = '',
    labelled_only: bool = False,
) -> list[dict]:
    """Put the image folder before the paths of a list, count its images in the log, and check it.

    Args:
        items (list[dict]): With ``img_path``, relative to the folder, and ``gt_label``.
        img_prefix (str): Image folder.
        source (str | Path): The list, for the messages.
        of (str): What the images are of, such as ' of VG500 (train)'. Defaults to ''.
        labelled_only (bool): Drop images without a label. Defaults to False.

    Raises:
        FileNotFoundError: If the folder or the first image in it is missing.
        ValueError: If no image is left.
    """
    used = [
        {**item, 'img_path': str(Path(img_prefix) / item['img_path'])}
        for item in items
        if item['gt_label'] or not labelled_only
    ]
    print_log(
        f'{source}: {len(items)} images{of}, {sum(not item["gt_label"] for item in items)} without '
        f'a label {"dropped" if labelled_only else "kept"}, '
        f'{len(items) - len({item["img_path"] for item in items})} listed again, {len(used)} used',
        'current',
    )
    if not used:
        raise ValueError(f'{source}: found 0 labelled images among {len(items)}')
    check_exists(img_prefix, Path.is_dir)
    if not Path(used[0]['img_path']).is_file():
        raise FileNotFoundError(
            f'{used[0]["img_path"]} not found: is {img_prefix} the folder of the {len(used)} '
            f'images of {source}? See docs/datasets.md'
        )
    return used
