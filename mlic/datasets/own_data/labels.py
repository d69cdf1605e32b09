"""The labels of a user's own images: read, put in order, counted and written."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from mlic.files import read_csv, read_text
from mlic.names import counted, first_names, repeated

from .choices import show
from .splits import SPLITS, Image, count_unknown

RARE = 10  # training images of a class, below which it is named
FEW = 5  # the same of the other splits
SIMILAR = 0.8  # of difflib: 'treee' and 'tree' have 0.89, 'cat' and 'cow' 0.33
# what no label is called, or what is left of one that was cut at the wrong mark
ODD = re.compile(
    r'nan|none|null|n/a|<?na>?|\w+\(\)|\?|-|unknown|[+-]?[\d.,]+|.*[\[\]{}",;|\n].*|[\'`].*|.*[\'`]'
    r'|[^()]*\)[^()]*|[^()]*\([^()]*|[!~¬-].*|.*[:=]\s*[\d.]+',
    re.IGNORECASE | re.DOTALL,
)
HALVES = re.compile(r'[\ud800-\udfff]')  # of characters: bytes that are not UTF-8
NO_LABEL = {'no finding', 'no findings'}  # an image without a label, where it always stands alone
UNSEEN = '\u200b\u200e\u200f\u2060\ufeff'  # what web pages leave around a name


def normalise(text: str) -> str:
    """One spelling for each name: accents may come as one character or as two."""
    text = text.strip().strip(UNSEEN).strip()
    return text if text.isascii() else unicodedata.normalize('NFC', text)


def drop_no_label(images: list[Image]) -> list[str]:
    """Take 'No Finding', where it always stands alone, for an image without a label."""
    names = {name for image in images for name in image.labels if name.casefold() in NO_LABEL}
    marked = [image for image in images if image.labels & names]
    if not names or any(len(image.labels) > 1 for image in marked):
        return []
    for image in marked:
        image.labels, image.unknown, image.complete = set(), set(), True
    return [f'{show(sorted(names))} is taken to mean no label: {counted(len(marked), "image")}']


def order_classes(images: list[Image], classes_file: Path | None) -> list[str]:
    """The classes of a file in its order, or those that occur, sorted.

    Lines ``CODE,NAME`` give the labels that are codes their names.

    Raises:
        ValueError: If there is none, one comes twice, has a line break or is not UTF-8, or an image
            has a label that the file lacks.
    """
    first = {}
    for image in images:
        for label in image.labels:
            first.setdefault(label, image)
    if not first:
        raise ValueError(f'none of the {len(images)} images has a label')
    broken = [name for name in first if len(name.splitlines()) > 1]
    if broken:
        raise ValueError(
            f'{first[broken[0]].where}: the label {broken[0][:80]!r} has a line break; are these '
            'several labels? --sep says what separates them'
        )
    halves = next(filter(HALVES.search, first), None)
    if halves:
        raise ValueError(
            f'{first[halves].where}: the label {halves[:80]!r} is not UTF-8; rename it, since no '
            'list of classes could hold it'
        )
    if classes_file is None:
        return sorted(first)
    classes = [normalise(line) for line in read_text(classes_file).splitlines() if line.strip()]
    if not first.keys() & {*classes}:
        classes = _name_codes(images, first, classes_file) or classes
    twice = repeated(classes)
    if twice:
        raise ValueError(f'{classes_file}: {twice[0]!r} occurs twice')
    unknown = sorted(set().union(*(image.labels for image in images)) - set(classes))
    if unknown:
        way = '; lines such as CODE,NAME name numbers and codes' * (len(unknown) == len(first))
        raise ValueError(
            f'{len(unknown)} labels are not in {classes_file}, such as {unknown[0]!r} '
            f'({first[unknown[0]].where}){way}'
        )
    return classes


def _name_codes(images: list[Image], codes: Collection[str], path: Path) -> list[str] | None:
    """Give labels that are codes the names of lines ``CODE,NAME``: the names, or None."""
    pairs = [tuple(map(normalise, cells)) for _, cells in read_csv(path) if len(cells) == 2]
    names = dict(pair for pair in pairs if all(pair))
    if not names.keys() >= {*codes}:
        return None
    twice = repeated(code for code, _ in pairs)
    if twice:
        raise ValueError(f'{path}: {twice[0]!r} occurs twice')
    for image in images:
        image.labels, image.unknown, image.absent = (
            {names.get(code, code) for code in found}
            for found in (image.labels, image.unknown, image.absent)
        )
    return [name for code, name in names.items() if code in codes]


def describe_counts(images: list[Image], classes: list[str]) -> Iterator[str]:
    """Lines with the images per class and split, and with what looks odd."""
    splits = [split for split in SPLITS if any(image.split == split for image in images)]
    members = {split: [image for image in images if image.split == split] for split in splits}
    counts = {split: Counter() for split in splits}
    for image in images:
        counts[image.split].update(image.labels)
    gaps = {split: count_unknown(members[split], classes) for split in splits}
    unknown = {split: found for split, (found, _) in gaps.items()}
    total = sum(counts.values(), Counter())
    sizes = Counter(image.split for image in images)
    empty = Counter(image.split for image in images if not image.labels)
    width = min(max(map(len, [*classes, 'without a label'])), 40)
    for name, values in (
        ('', splits),
        *((name, [count[name] for count in counts.values()]) for name in classes),
        ('images', [sizes[split] for split in splits]),
        ('without a label', [empty[split] for split in splits]),
    ):
        yield f'  {name:{width}}' + ''.join(f'{value:>8}' for value in values)

    if any(unknown.values()):
        nothing_known = sum(number for _, number in gaps.values())
        of_all = sum(unknown.values(), Counter())
        yield f'unknown: {describe_unknown(of_all, len(images), len(classes), nothing_known)}'
    spellings = look_alikes(classes)
    for names in spellings:
        yield f'warning: one label in several spellings? {", ".join(map(repr, names))}'
    frequent = [name for name in classes if total[name] >= RARE]
    named = {name for names in spellings for name in names}
    rare = [name for name in classes if total[name] < FEW and name not in named]
    for name, other in find_typos(rare, frequent):
        found = f'{name!r} ({total[name]}) looks like {other!r} ({total[other]})'
        yield f'warning: possible typo: {found}'
    odd = [name for name in classes if ODD.fullmatch(name)]
    if odd:
        yield (
            'warning: are these labels, or was the text split in the wrong place? '
            + first_names(odd, form=repr)
            + '; --classes FILE with lines such as 0,NAME names them'
            * all(name.isdecimal() for name in classes)
        )
    rare = [name for name in classes if counts['train'][name] < RARE]
    if rare:
        yield f'{len(rare)} of {len(classes)} classes have fewer than {RARE} training images'
    for split in splits:
        lacking = [name for name in classes if not counts[split][name]]
        if lacking:
            have = 'has' if len(lacking) == 1 else 'have'
            yield f'{len(lacking)} {have} none in {split}: {first_names(lacking, 8)}'
        all_there = [
            name for name in classes if counts[split][name] + unknown[split][name] == sizes[split]
        ]
        if all_there:
            have = 'has' if len(all_there) == 1 else 'have'
            yield (
                f'{len(all_there)} {have} no known negative in {split}: {first_names(all_there, 8)}'
            )
        one_sided = {name for name in all_there if unknown[split][name]}
        if split != 'train' and counts[split] and counts[split].keys() <= one_sided:
            yield (
                f'warning: no class has a known positive and a known negative in {split}: '
                'no metric is defined on it'
            )
        few = [name for name in classes if 0 < counts[split][name] < FEW]
        if few and split != 'train':
            have, their = ('has', 'its') if len(few) == 1 else ('have', 'their')
            fault = f'{their} AP depends on a handful of images'
            yield f'{len(few)} {have} fewer than {FEW} in {split}: {fault}'


def find_typos(rare: list[str], frequent: list[str]) -> Iterator[tuple[str, str]]:
    """(a rare name, the frequent one that it looks like), of those that do."""
    column = {char: i for i, char in enumerate(sorted({*''.join(frequent)}))}
    counts = np.zeros((len(frequent), len(column)), np.uint16)
    for row, name in enumerate(frequent):
        for char in name:
            counts[row, column[char]] += 1
    lengths = np.array([len(name) for name in frequent])
    for name in rare:
        chars = Counter(char for char in name if char in column)
        held = np.fromiter(chars.values(), np.uint16, len(chars))
        common = np.minimum(counts[:, [column[char] for char in chars]], held).sum(1)
        # an upper bound of difflib's ratio, which costs too much for all pairs
        near = np.flatnonzero(2 * common / (lengths + len(name)) >= SIMILAR)
        for other in get_close_matches(name, [frequent[i] for i in near], 1, SIMILAR):
            yield name, other


def describe_unknown(counts: Counter, num_images: int, num_classes: int, empty: int) -> str:
    """How many labels nobody knows, and of which classes most.

    Args:
        counts (Counter): In how many images each class is unknown.
        num_images (int): Of all images.
        num_classes (int): Of all classes.
        empty (int): Images of which nothing is known.
    """
    total = num_images * num_classes
    most = [f'{name} {count / num_images:.0%}' for name, count in counts.most_common()]
    return (
        f'{counts.total()} of {total} labels ({counts.total() / total:.1%}), most: '
        + first_names(most, 5)
        + f'; nothing is known of {counted(empty, "image")}' * bool(empty)
    )


def spelling_of(name: str) -> str:
    """A name without what hardly makes two differ: case, blanks, marks, what nobody sees, width."""
    plain = unicodedata.normalize('NFKC', name).casefold()
    if not plain.isascii():  # Cf: characters of no width
        plain = ''.join(c for c in plain if unicodedata.category(c) != 'Cf')
    return re.sub(r'[\W_]+', ' ', plain).strip() or plain


def look_alikes(classes: list[str]) -> list[list[str]]:
    """Names that differ in case, blanks, marks or the width of their characters only."""
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(spelling_of(name), []).append(name)
    return [names for names in spellings.values() if len(names) > 1]


def label_texts(out: Path, splits: dict[str, list[Image]], classes: list[str]) -> dict[Path, str]:
    """The text of ``classes.txt`` and of the JSON file of each split that has images."""
    index = {name: label for label, name in enumerate(classes)}
    texts = {}
    for split, members in splits.items():
        if members:
            data_list = []
            for image in sorted(members, key=lambda image: image.path):
                gt_label = sorted(index[name] for name in image.labels)
                item = dict(img_path=image.path, gt_label=gt_label)
                data_list.append(item | _others(image, classes, index))
            content = dict(metainfo=dict(classes=classes), data_list=data_list)
            texts[out / f'{split}.json'] = json.dumps(content, ensure_ascii=False) + '\n'
    texts[out / 'classes.txt'] = '\n'.join(classes) + '\n'
    return texts


def _others(image: Image, classes: list[str], index: dict[str, int]) -> dict[str, list[int]]:
    """What a file says of an image besides its labels: what is unknown, or the shorter rest."""
    known = image.known()
    if known is not None:
        absent = sorted(index[name] for name in known - image.labels if name in index)
        if len(absent) < len(classes) - len(image.labels) - len(absent):
            return dict(gt_label_absent=absent)
    unknown = [index[name] for name in image.unknown_of(classes)]
    return dict(gt_label_unknown=unknown) if unknown else {}
