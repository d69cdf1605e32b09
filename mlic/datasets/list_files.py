"""Lists of images and labels: of folders, and as text files, read line by line."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from mlic.files import read_lines
from mlic.names import counted, printable, short

IMAGE_SUFFIXES = (
    '.avif', '.bmp', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm',
    '.pgm', '.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip


def list_images(folder: str | Path) -> tuple[list[str], list[str]]:
    """Images by their extension, and other files, at any depth, relative to the folder.

    They are in the order of :func:`walk_folders`. What is no regular file (a pipe, a link to a
    device) is not an image; a link to nothing is a missing one.

    Raises:
        FileNotFoundError, OSError: As :func:`walk_folders`.
    """
    images, others = [], []
    for inside, files in walk_folders(folder):
        for name in files:
            path = f'{inside}/{name}' if inside else name
            full = os.path.join(folder, path)
            is_image = path.lower().endswith(IMAGE_SUFFIXES)
            is_image = is_image and (os.path.isfile(full) or not os.path.exists(full))
            (images if is_image else others).append(path)
    return images, others


def walk_folders(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """A folder, which is ``''``, and those in it at any depth, each with the names of its files.

    They are in the order of the names, with ``/`` between. Links to folders are followed, unless
    they are in the folder that they lead to; hidden files and folders are left out.

    Raises:
        FileNotFoundError: If it is not a folder.
        OSError: If a folder cannot be listed.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{folder} is not a folder')
    folder = str(Path(folder))  # without a last slash
    above = {os.path.dirname(folder): frozenset()}  # the real folders that a place is in
    for place, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        real, parents = os.path.realpath(place), above[os.path.dirname(place)]
        if real in parents:  # a link to one of its parents
            folders.clear()
            continue
        above[place] = parents | {real}
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        inside = Path(place).relative_to(folder).as_posix()
        names = sorted(name for name in files if not name.startswith('.'))
        yield '' if inside == '.' else inside, names


def _fail(error: OSError) -> None:
    """For os.walk, which would leave out a folder that it cannot list."""
    raise error


def check_exists(path: str | Path, exists: Callable = Path.is_file) -> None:
    """FileNotFoundError if a file (or a folder, with ``Path.is_dir``) of a data set is missing."""
    if not exists(Path(path)):
        raise FileNotFoundError(f'{path} not found; docs/datasets.md shows where it belongs')


def check_present(folder: str | Path, names: Sequence[str], source: str) -> None:
    """Look for all files in one listing of their folders."""
    check_exists(folder, Path.is_dir)
    present = {file for file, _ in list_folders_of(folder, names)}
    missing = [name for name in names if name not in present]
    if missing:
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of the {len(names)} files of {source} not found, such as '
            f'{printable(missing[0])}'
        )


def list_folders_of(folder: str | Path, names: Sequence[str]) -> Iterator[tuple[str, os.DirEntry]]:
    """What is in a folder next to files of these names, ``a.jpg`` or ``b/a.jpg``, by such names."""
    for parent in sorted({name.rpartition('/')[0] for name in names}):
        inside = '..' not in parent.split('/') and not parent.startswith('/')
        if inside and os.path.isdir(os.path.join(folder, parent)):
            with os.scandir(os.path.join(folder, parent)) as entries:
                yield from ((f'{parent}/{x.name}' if parent else x.name, x) for x in entries)


def read_list(path: str | Path) -> list[str]:
    """Lines of a text file, stripped, whatever their endings and with or without a last one.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not UTF-8, has no line, or a blank one before the last.
    """
    check_exists(path)
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f'{path}: found 0 lines, expected at least 1')
    if '' in lines:
        raise ValueError(f'{path}, line {lines.index("") + 1} of {len(lines)}: is empty')
    return lines


NO_LIST = 'no list of integers as '


def label_fault(
    labels: object,
    num_classes: int | None,
    others: object = (),
    key: str = 'gt_label_unknown',
) -> str | None:
    """What keeps the labels of an image from being a multi-hot target; None if nothing does.

    Args:
        labels (object): Class indices, or whatever a file holds instead.
        num_classes (int, optional): None: indices may have any size.
        others (object): What the file holds as ``key``. Defaults to (), which is none.
        key (str): Defaults to 'gt_label_unknown', the classes nobody annotated.
    """

    def fault_of(indices: object, key: str, name: str, effect: str) -> str | None:
        if not isinstance(indices, (list, tuple)) or any(type(i) is not int for i in indices):
            return f'{NO_LIST}{key}'
        if num_classes is not None and any(not 0 <= i < num_classes for i in indices):
            return f'{name} outside 0..{num_classes - 1}'
        return f'{name} twice{effect}' if len(set(indices)) < len(indices) else None

    twice = ' (it would count as 2 in the target)'
    fault = fault_of(labels, 'gt_label', 'a label', twice)
    if fault or others == ():
        return fault
    fault = fault_of(others, key, f'an {key.removeprefix("gt_label_")} label', '')
    if fault or set(labels).isdisjoint(others):
        return fault
    return f'a class in both gt_label and {key}'


def labels_text(labels: object, others: object = (), key: str = 'gt_label_unknown') -> str:
    """The labels of an image for a message, with what the file holds as ``key`` if it does."""
    return short(labels) + ('' if others == () else f', {key} {short(others)}')


def with_unknown(info: dict, num_classes: int) -> dict:
    """An item with ``gt_label_unknown`` instead of ``gt_label_absent``.

    Of thousands of classes nearly all may be unknown in every image: then only those that are known
    to be absent are stored.
    """
    if 'gt_label_absent' in info:
        known = {*info['gt_label'], *info.pop('gt_label_absent')}
        info['gt_label_unknown'] = [i for i in range(num_classes) if i not in known]
    return info


def name_in_folder(name: object, folder: str, source: str | Path) -> str:
    r"""The name of an image as its folder has it: ``\`` of Windows becomes ``/``.

    A name that the folder has with its ``\``, as some unpack an archive, stays as it is.

    Raises:
        ValueError: If it is not text, or text that no file can have as its name.
    """
    if not isinstance(name, str) or not name.strip() or '\0' in name or not _is_encodable(name):
        raise ValueError(f'{source}: {short(name)} is not the name of an image')
    if '\\' in name and not os.path.lexists(os.path.join(folder, name)):
        return name.replace('\\', '/')
    return name


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _below(name: str, folder: str, source: str | Path) -> str:
    """The path of an image that must be in a folder; absolute names may lie there, too."""
    inside = os.path.relpath(name, folder) if os.path.isabs(name) else name
    if os.path.normpath(inside).split(os.sep)[0] in ('.', '..'):
        raise ValueError(
            f'{source}: the image {short(name)} is not in {folder}: let data_prefix be a '
            'folder that holds all images'
        )
    return str(Path(folder) / inside)


def used_images(
    items: list[dict],
    img_prefix: str,
    source: str | Path,
    of: str = '',
    labelled_only: bool = False,
) -> list[dict]:
    """Put the image folder before the paths of a list, count its images in the log, and check it.

    No image may lie elsewhere: a list of others' could show what else is on this machine.

    Args:
        items (list[dict]): With ``img_path``, relative to the folder, and ``gt_label``; of an
            image that was not looked at for every class, ``gt_label_absent``.
        img_prefix (str): Image folder.
        source (str | Path): The list, for the messages.
        of (str): What the images are of, such as ' of VG500 (train)'. Defaults to ''.
        labelled_only (bool): Drop images without a label. Defaults to False.

    Raises:
        FileNotFoundError: If the folder or the first image in it is missing.
        ValueError: If no image is left, a name is none or leads out of the folder, or an image is
            listed again with other labels.
    """
    place = img_prefix, source
    used = [
        {**item, 'img_path': _below(name_in_folder(item['img_path'], *place), *place)}
        for item in items
        if item['gt_label'] or not labelled_only
    ]
    first_of: dict[str, dict] = {}
    for item in used:
        first = first_of.setdefault(item['img_path'], item)
        for key in ('gt_label', 'gt_label_absent'):
            if first.get(key) != item.get(key):
                values = [x.get(key) for x in (first, item)]
                raise ValueError(
                    f'{source}: {printable(item["img_path"])} is listed again with different '
                    'labels, '
                    + ' and '.join('all others' if x is None else short(x) for x in values)
                    + ' known to be absent' * (key == 'gt_label_absent')
                )
    print_log(
        f'{source}: {counted(len(items), "image")}{of}, '
        f'{sum(not item["gt_label"] for item in items)} without a label '
        f'{"dropped" if labelled_only else "kept"}, '
        f'{len(items) - len({item["img_path"] for item in items})} listed again, {len(used)} used',
        'current',
    )
    if not used:
        raise ValueError(f'{source}: found 0 labelled images among {len(items)}')
    check_exists(img_prefix, Path.is_dir)
    first = used[0]['img_path']
    if not os.path.isfile(first):
        raise FileNotFoundError(
            f'{printable(first)} not found: is {img_prefix} the folder of the {len(used)} images '
            f'of {source}? See docs/datasets.md'
        )
    return used
