"""Images with a text file for each: labels, or the boxes that YOLO is trained on."""

import re
from pathlib import Path, PurePosixPath

import yaml

from mlic.datasets.list_files import read_list
from mlic.files import KeyTwice, each_key_once, read_json, read_text
from mlic.names import counted, first_names, repeated, short

from .cells import CellError, in_words, read_cells
from .choices import Undecided, spell
from .folders import split_folders
from .labels import normalise
from .splits import Image

NUMBER = r'-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?'  # which matches in one way only
BOX = re.compile(rf'(\d{{1,9}})(?:\s+{NUMBER}){{4,}}', re.IGNORECASE)
BOX_NAMES = 'classes.txt', 'obj.names', '_darknet.labels', 'data.yaml', 'dataset.yaml'


def from_sidecars(
    folder: Path,
    files: list[str],
    others: list[str],
    skip_missing: bool,
    sep: str | None = None,
    classes_file: Path | None = None,
    out: Path | None = None,
) -> tuple[list[Image], list[str] | None, list[str]]:
    """Pictures with the labels of their text files.

    Args:
        folder (Path): Of the images.
        files (list[str]): The images in it.
        others (list[str]): Other files in it, sorted; the text of ``a/1.jpg`` is ``a/1.txt``, or
            ``a/1.jpg.txt``, and that of ``images/1.jpg`` may be ``labels/1.txt``.
        skip_missing (bool): Leave out images without a text.
        sep (str, optional): What is between the labels of a text. None: found out.
        classes_file (Path, optional): With the names of boxes. None: looked for in the folder.
        out (Path, optional): Where a sorted ``classes.txt`` will be written.

    Returns:
        tuple[list[Image], list[str] | None, list[str]]: The pictures; the names of boxes, if
            ``classes_file`` has them; and lines that say what was found.

    Raises:
        Undecided: If it is not clear what separates labels.
        ValueError: If texts are missing or make no sense, or names of boxes are looked for in
            ``out``; names the file.
    """
    suffixes = {other: PurePosixPath(other).suffix for other in others}
    available = {  # of 1.TXT and 1.txt the latter, which is last in order
        other.removesuffix(suffix) + '.txt': other
        for other, suffix in suffixes.items()
        if suffix.lower() == '.txt'
    }
    texts, missing = {}, []
    for file in files:
        same = str(PurePosixPath(file).with_suffix('.txt'))
        apart = re.sub(r'(^|.*/)images/', r'\1labels/', same)
        text = available.get(same) or available.get(f'{file}.txt') or available.get(apart)
        if text is None:
            missing.append(file)
        else:
            texts[file] = text
    if not texts:
        raise ValueError(f'none of the {len(files)} images in {folder} has a .txt file next to it')
    if missing and not skip_missing:
        raise ValueError(
            f'{len(missing)} of {len(files)} images have no .txt file next to them: '
            f'{first_names(missing, 5)}. An empty one says that there is no label; --skip-missing '
            'leaves these images out'
        )
    contents = {text: _content(folder / text) for text in texts.values()}
    boxes = _read_boxes(folder, contents, classes_file, out)
    labels, absent, form, names = boxes or (*_read_labels(folder, contents, sep), None)
    inner = {file: file.removeprefix('images/') for file in texts}
    splits = split_folders(list(inner.values()))
    images = [
        Image(
            file, labels[text], str(folder / text), splits.get(inner[file].split('/')[0]),
            absent=absent.get(text, set()),
        )
        for file, text in texts.items()
    ]  # fmt: skip
    left = sum(suffix.lower() == '.txt' for suffix in suffixes.values()) - len({*texts.values()})
    said = [
        f'labels in .txt files, {form}',
        f'{counted(len(texts), "image")} with labels in a file next to it; without: {len(missing)} '
        f'(left out); {counted(left, ".txt file")} without an image',
    ]
    return images, names if classes_file else None, said


def _content(path: Path) -> str:
    """The lines of a text that are not blank."""
    return '\n'.join(filter(None, map(normalise, read_text(path).splitlines())))


def _read_labels(
    folder: Path, contents: dict[str, str], sep: str | None
) -> tuple[dict[str, set[str]], dict[str, set[str]], str]:
    """{text: labels}, a line or what a mark separates; {text: absent ones}; which, in words."""
    try:
        labels, absent, form = read_cells(list(contents.values()), sep, many=True, blanks=False)
    except CellError as error:
        fault = f'{folder / list(contents)[error.row]}: {error}'
        if not error.separators:
            raise ValueError(fault) from error
        sep = error.separators[0]
        assumed = f'{in_words(sep)} separate labels' if sep else 'a line is one label'
        raise Undecided(f'{fault} ({error.answers})', assumed, ['--sep', spell(sep)]) from error
    return dict(zip(contents, labels)), dict(zip(contents, absent)), form


def _read_boxes(
    folder: Path, contents: dict[str, str], classes_file: Path | None, out: Path | None
) -> tuple[dict[str, set[str]], dict[str, set[str]], str, list[str]] | None:
    """{text: names of its boxes}, {}, whose names, in words, and all; None of what is no boxes."""
    lines = [line for text in contents.values() for line in text.splitlines()]
    if not any(map(BOX.fullmatch, lines)):
        return None
    source, names = _box_names(folder, contents, classes_file, out)
    labels = {}
    for text, content in contents.items():
        labels[text] = set()
        for line in content.splitlines():
            box = BOX.fullmatch(line)
            if box is None or int(box[1]) >= len(names):
                fault = f'is not a box of one of the {len(names)} classes in {source}'
                raise ValueError(f'{folder / text}: {short(line)} {fault}')
            labels[text].add(names[int(box[1])])
    return labels, {}, f'as YOLO boxes; the names of their classes are from {source}', names


def _box_names(
    folder: Path, contents: dict[str, str], classes_file: Path | None, out: Path | None
) -> tuple[Path, list[str]]:
    """The file that names the classes of boxes, and the names."""
    places = dict.fromkeys([folder, folder.parent, *((folder / x).parent for x in contents)])
    found = [place / name for place in places for name in BOX_NAMES if (place / name).is_file()]
    written = [path for path in found if path.name == 'classes.txt' and _is_written(path)]
    found = [path for path in found if path not in written]
    if not (classes_file or found):
        raise ValueError(
            f'{folder / next(iter(contents))}: looks like YOLO boxes, and none of '
            f'{", ".join(BOX_NAMES)} is there to name their classes: --classes FILE does, one '
            'name a line, number 0 first'
            + ''.join(f' ({path} is what an earlier run wrote)' for path in written[:1])
        )
    if not classes_file and out and out.is_dir() and any(map(out.samefile, places)):
        raise ValueError(
            f'{out} is where names of boxes are looked for, and the sorted classes.txt written '
            'there would be taken for them: give another --out'
        )
    sources = [classes_file] if classes_file else found
    names, *others = map(_names_of, sources)
    for source, other in zip(sources[1:], others):
        if other != names:
            raise ValueError(
                f'{sources[0]} and {source} name the classes of boxes differently: --classes FILE '
                'says which is right'
            )
    return sources[0], names


def _is_written(path: Path) -> bool:
    """Whether a run wrote this ``classes.txt``: ``train.json`` next to it has its classes."""
    try:
        return read_json(path.with_name('train.json'))['metainfo']['classes'] == read_list(path)
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _names_of(path: Path) -> list[str]:
    """The names that a file gives to the classes of boxes, number 0 first."""
    if path.suffix.lower() in ('.yaml', '.yml'):
        names = _yaml_names(path)
    else:
        names = list(map(normalise, read_list(path)))
        if all(re.match(r'\d+\s*,', name) for name in names):
            fault = 'expected a name a line, number 0 first, without the numbers of boxes'
            raise ValueError(f'{path}: found {names[0]!r}, {fault}')
    twice = repeated(names)
    if twice:
        raise ValueError(f'{path}: {twice[0]!r} occurs twice')
    return names


class EachKeyOnce(yaml.BaseLoader):
    """Values are texts; KeyTwice if a key is there twice, of which one would be lost."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        return each_key_once(self.construct_pairs(node, deep))


def _yaml_names(path: Path) -> list[str]:
    """The list or mapping ``names`` of a YAML file, as they stand there: ``no`` is a name."""
    try:
        names = yaml.load(read_text(path), EachKeyOnce)['names']
        if isinstance(names, dict):
            names = [names[str(i)] for i in range(len(names))]
        if not isinstance(names, list) or not all(isinstance(x, str) and x for x in names):
            raise TypeError
    except KeyTwice as error:
        raise ValueError(f'{path}: {error}') from error
    except (yaml.YAMLError, RecursionError, TypeError, LookupError) as error:
        raise ValueError(
            f'{path} has no list "names" of classes, such as names: [cat, dog]'
        ) from error
    return list(map(normalise, names))
