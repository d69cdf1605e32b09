"""Which file of a folder a name in a table means."""

import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlsplit

from mlic.datasets.list_files import IMAGE_SUFFIXES, list_images

MOST_OF_A_NAME = 50  # files of one name, in different folders, that are looked at
SAMPLE = 200  # names by which the folders that stand before all of them are told
UPLOADED = re.compile(r'(?:.*/)?data/upload/(?:\d+/)?[0-9a-f]{8}-(.+)')  # Label Studio's copies


class Found(NamedTuple):
    """A file, relative to the folder, and whether the name had its suffix."""

    path: str
    exact: bool


class ImageFinder:
    """Finds the files that the names of a column mean.

    A name counts from the image folder, or from the folder of its table if that is below it.
    It may differ in case, lack the suffix, or lack the folders before it, where it means one
    file only. Folders that stand before all names of a column may lie outside the image folder
    (``C:\\photos\\``, ``gs://bucket/``), and are then left out.

    Args:
        folder (Path): The image folder.
        files (Sequence[str], optional): The images there are, :func:`clean`. Defaults to None:
            those in the folder.
        name (str, optional): What a message calls them. Defaults to None: the folder.
    """

    def __init__(
        self, folder: Path, files: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        self.folder = folder
        self.name = name or str(folder)
        self.files = list_images(folder)[0] if files is None else list(files)
        self.exact = {_composed(file): file for file in self.files}
        starts = {folder.as_posix(), folder.resolve().as_posix(), folder.resolve().name}
        self.starts = ('', *sorted(f'{start.strip("/")}/' for start in starts))

    @cached_property
    def by_path(self) -> dict[str, list[str]]:
        """{path in lower case: files}."""
        return _grouped(self.files, _folded)

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """{name in lower case: files}."""
        return _grouped(self.files, lambda file: _folded(file).rpartition('/')[2])

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """{name in lower case, without its suffix: files}."""
        return _grouped(self.files, lambda x: _folded(x).rpartition('/')[2].rpartition('.')[0])

    def of_one_name(self, name: str) -> list[str]:
        """Two files or more that have this name, but for case and suffix, in whatever folder."""
        name = _folded(clean(name)).rpartition('/')[2]
        files = self.by_name.get(name, []) or self.by_stem.get(name, [])
        return files if len(files) > 1 else []

    def find_all(
        self, names: Sequence[str], tables: Sequence[Path]
    ) -> tuple[list[Found | None], str]:
        """What each name of a column means, and the folders before all names that are left out.

        Args:
            names (Sequence[str]): Of the column.
            tables (Sequence[Path]): The table that each name is from.
        """
        nears = {table: self._folder_of(table) for table in set(tables)}
        keys = dict.fromkeys(zip(names, (nears[table] for table in tables)))
        paths = [clean(name) for name, _ in keys]
        common = os.path.commonprefix([path.split('/')[:-1] for path in paths if path])
        step = max(len(paths) // SAMPLE, 1)
        sample = list(zip(paths, (near for _, near in keys)))[::step]
        most, start = -1, ''
        for count in range(len(common) + 1):
            before = '/'.join([*common[:count], ''])
            found = sum(self._find(path[len(before) :], near) is not None for path, near in sample)
            if found > most:
                most, start = found, before
            if found == len(sample):
                break
        meant = {
            key: self._find(path[len(start) :], key[1]) or self._find_original(path, key[1])
            for key, path in zip(keys, paths)
        }
        return [meant[name, nears[table]] for name, table in zip(names, tables)], start

    def _folder_of(self, table: Path) -> str:
        """The folder of a table, relative to the images', with a slash, or ''."""
        inside = os.path.relpath(table.resolve().parent, self.folder.resolve())
        return '' if inside.startswith('.') else f'{Path(inside).as_posix()}/'

    def _find_original(self, path: str, near: str) -> Found | None:
        """The file that Label Studio has a copy of."""
        uploaded = UPLOADED.fullmatch(path)
        return self._find(uploaded[1], near) if uploaded else None

    def _find(self, path: str, near: str) -> Found | None:
        """The one file that a clean path means."""
        if not path:
            return None
        inners = [path.removeprefix(start) for start in self.starts if path.startswith(start)]
        for candidate in (*(near + inner for inner in inners if near), *inners):
            if candidate in self.exact:
                return Found(self.exact[candidate], True)
        has_suffix = path.lower().endswith(IMAGE_SUFFIXES)
        for inner in map(str.casefold, inners):
            name = inner.rpartition('/')[2]
            for index, key, exact in (
                ('by_path', inner, True),
                ('by_name', name, True),
                ('by_stem', name, False),
            ):
                if index == 'by_stem' and has_suffix:
                    continue
                files = getattr(self, index).get(key, ())
                if len(files) > MOST_OF_A_NAME:
                    continue
                found = [file for file in files if _ends_with(file, inner, exact)]
                if len(found) > 1 and near:
                    found = [file for file in found if file.startswith(near)]
                if len(found) == 1:
                    return Found(found[0], exact)
        return None


def _composed(file: str) -> str:
    """A path with accents as one character."""
    return file if file.isascii() else normalize('NFC', file)


def _folded(file: str) -> str:
    """A path for comparison without case."""
    return _composed(file).casefold()


def _grouped(files: list[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """{key: its files}."""
    groups = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups


def _ends_with(file: str, path: str, exact: bool) -> bool:
    """Whether the last folders and the name of a file are this path, but for its suffix."""
    folded = _folded(file)
    folded = folded if exact else folded.rpartition('.')[0]
    return folded == path or folded.endswith(f'/{path}')


def clean(name: str) -> str:
    """A name with ``/`` between folders, without what is before and around the path of a URL."""
    path = name.replace('\\', '/')
    if '://' in path or path.startswith('/data/'):
        try:
            url = urlsplit(path)
        except ValueError:
            return path
        local = parse_qs(url.query).get('d')
        path = local[0] if local else unquote(f'{url.netloc}{url.path}')
    if './' in path or '//' in path or path.startswith('/'):
        path = '/'.join(part for part in path.split('/') if part not in ('', '.'))
    return path
