"""Which file of a folder a name in a table means."""

import os
import re
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import parse_qs, quote, unquote, urlsplit

from mlic.datasets.list_files import IMAGE_SUFFIXES, list_images

SAMPLE = 200  # names by which the folders that stand before all of them are told
UPLOADED = re.compile(r'(?:.*/)?data/upload/(?:\d+/)?[0-9a-f]{8}-(.+)')  # Label Studio's copies
# what ends in a query and has %20 for a blank; the paths are Label Studio's
ADDRESS = re.compile(
    r'(?:https?|file)://|/data/(?:local-files/?\?|upload/(?:\d+/)?[0-9a-f]{8}-)', re.IGNORECASE
)
SCHEME = re.compile(r'[a-z][a-z0-9+.-]{0,30}://', re.IGNORECASE)
KEPT = 'surrogateescape'  # bytes of file names that are not UTF-8
UNUSUAL = re.compile(r'[\\%?#]')  # in the name of a file: what :func:`clean` may change


class Found(NamedTuple):
    """A file, relative to the folder, whether the name had its suffix, and the clean name."""

    path: str
    exact: bool
    name: str


class ImageFinder:
    """Finds the files that the names of a column mean.

    A name counts from the folder of its table if images lie below that, or from the image folder.
    It may differ in case, lack the suffix, or lack the folders before it, where it means one
    file only. Folders that stand before all names of a column may lie outside the image folder
    (``C:\\photos\\``, ``gs://bucket/``), and are then left out.

    Args:
        folder (Path): The image folder.
        files (Sequence[str], optional): The images there are, :func:`clean`. Defaults to None:
            those in the folder, without links to nothing.
        name (str, optional): What a message calls them. Defaults to None: the folder.
    """

    def __init__(
        self, folder: Path, files: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        self.folder = folder
        self.name = name or str(folder)
        if files is None:
            files = [file for file in list_images(folder)[0] if os.path.exists(folder / file)]
        self.files = list(files)
        self.unusual = {
            part for file in self.files if UNUSUAL.search(file) for part in _folded(file).split('/')
        }
        parents = {_folded(file).rpartition('/')[0] for file in self.files} - {''}
        self.folders = {
            above for parent in parents for above in accumulate(f'{x}/' for x in parent.split('/'))
        }
        starts = {folder.as_posix(), folder.resolve().as_posix(), folder.resolve().name}
        self.starts = ('', *sorted(f'{start.strip("/")}/' for start in starts))
        self._endings: dict[tuple, dict[str, list[str]]] = {}

    @cached_property
    def exact(self) -> dict[str, list[str]]:
        """{path: files}; accents may be written in two ways."""
        return _grouped(self.files, _composed)

    @cached_property
    def folded(self) -> dict[str, list[str]]:
        """{path in lower case: files}."""
        return _grouped(self.files, _folded)

    def files_of(self, names: Sequence[str], tables: Sequence[Path], start: str) -> list[list[str]]:
        """The files that each name may mean; ``start`` is what :meth:`find_all` leaves out."""
        nears = {table: self._folder_of(table) for table in set(tables)}
        return [
            self._files(clean(name, self.unusual), nears[table], start)[0]
            for name, table in zip(names, tables)
        ]

    def find_all(
        self, names: Sequence[str], tables: Sequence[Path]
    ) -> tuple[list[Found | None], str]:
        """What each name of a column means, and the folders before all names that are left out.

        Returns:
            tuple[list[Found | None], str]: None of a name that means no file, or several.
        """
        nears = {table: self._folder_of(table) for table in set(tables)}
        keys = dict.fromkeys(zip(names, (nears[table] for table in tables)))
        paths = [clean(name, self.unusual) for name, _ in keys]
        common = os.path.commonprefix([path.split('/')[:-1] for path in paths if path])
        step = max(len(paths) // SAMPLE, 1)
        sample = list(zip(paths, (near for _, near in keys)))[::step]
        most, start = -1, ''
        for before in ('', *accumulate(f'{folder}/' for folder in common)):
            found = sum(
                len(self._inner_files(path[len(before) :], near)[0]) == 1 for path, near in sample
            )
            if found > most:
                most, start = found, before
            if found == len(sample):
                break
        meant = {}
        for key, path in zip(keys, paths):
            files, exact = self._files(path, key[1], start)
            meant[key] = Found(files[0], exact, path) if len(files) == 1 else None
        return [meant[name, nears[table]] for name, table in zip(names, tables)], start

    def _folder_of(self, table: Path) -> str:
        """The folder of a table, relative to the images', with a slash, or ''."""
        for place in (os.path.abspath, os.path.realpath):
            images, parent = Path(place(self.folder)), Path(place(table)).parent
            if images in parent.parents:
                return f'{parent.relative_to(images).as_posix()}/'
        return ''

    def _files(self, path: str, near: str, start: str) -> tuple[list[str], bool]:
        """The files that a clean path may mean, and whether it has their suffix."""
        files, exact = self._inner_files(path[len(start) :], near)
        parts = start.split('/')[:-1]
        for before in ('', *accumulate(f'{part}/' for part in parts[:-1])) if start else ():
            # what is left out stands before another file, too
            files = [*dict.fromkeys([*files, *self.exact.get(path[len(before) :], ())])]
        uploaded = None if files else UPLOADED.fullmatch(path)
        return self._inner_files(uploaded[1], near) if uploaded else (files, exact)

    def _inner_files(self, path: str, near: str) -> tuple[list[str], bool]:
        """:meth:`_files` of what is left of a path."""
        if not path:
            return [], True
        base = near if _folded(near) in self.folders else ''
        inners = [path.removeprefix(start) for start in self.starts if path.startswith(start)]
        paths = dict.fromkeys(
            [
                *(base + inner for inner in inners),
                *(inner for inner in inners if self._counts_from_top(inner, base)),
            ]
        )
        for index, form in ((self.exact, _composed), (self.folded, _folded)):
            files = [*dict.fromkeys(file for path in paths for file in index.get(form(path), ()))]
            if files:
                return self._one_of(files), True
        for exact in (True, False)[: 1 if path.lower().endswith(IMAGE_SUFFIXES) else 2]:
            for inner in map(_folded, inners):
                files = self._ending_alike(inner.count('/') + 1, base, exact).get(inner)
                if files:
                    return self._one_of(files), exact
        return [], True

    def _counts_from_top(self, path: str, base: str) -> bool:
        """Whether a path of a table in the folder ``base`` may count from the image folder."""
        top, slash, _ = path.partition('/')
        return path.startswith(base) or bool(slash) and _folded(f'{base}{top}/') not in self.folders

    def _one_of(self, files: list[str]) -> list[str]:
        """The first of files that are one by links of folders, or all."""
        if len(files) < 2:
            return files
        real = (os.path.realpath(self.folder / file) for file in files)
        first = next(real)
        return files[:1] if all(place == first for place in real) else files

    def _ending_alike(self, count: int, base: str, exact: bool) -> dict[str, list[str]]:
        """{last parts of a path in lower case, with suffix or without: files below a folder}."""
        key = count, base, exact
        if key not in self._endings:
            files = [
                file
                for file in self.files
                if file.startswith(base) and file.count('/') + 1 >= count
            ]

            def ending(file: str) -> str:
                end = '/'.join(_folded(file).rsplit('/', count)[-count:])
                return end if exact else end.rpartition('.')[0]

            self._endings[key] = _grouped(files, ending)
        return self._endings[key]


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


def clean(name: str, kept: Collection[str] = ()) -> str:
    """A name with ``/`` between folders, without what is before and around the path of a URL.

    Args:
        name (str): As it was written.
        kept (Collection[str], optional): Folders and names of files, in lower case, that stay as
            they are: files may be called ``a%20b.jpg``, or on Linux ``a\\b.jpg``.
    """

    def parts(path: str) -> list[tuple[str, bool]]:
        return [(part, bool(kept) and _folded(part) in kept) for part in path.split('/')]

    path = '/'.join(part if stays else part.replace('\\', '/') for part, stays in parts(name))
    if ADDRESS.match(path):
        address = '/'.join(
            quote(part, errors=KEPT) if stays else part for part, stays in parts(path)
        )
        try:
            url = urlsplit(address)
        except ValueError:
            return path
        is_local = url.path.rstrip('/').endswith('/data/local-files')
        local = parse_qs(url.query).get('d') if is_local else None
        path = local[0] if local else unquote(f'{url.netloc}{url.path}', errors=KEPT)
    path = SCHEME.sub('', path, count=1)
    if './' in path or '//' in path or path.startswith('/'):
        path = '/'.join(part for part in path.split('/') if part not in ('', '.'))
    return path
