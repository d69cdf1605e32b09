"""Which of a user's own images are for training, validation and testing."""

import heapq
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mlic.files import read_json
from mlic.names import counted

SPLITS = ('train', 'val', 'test')
SPLIT_NAMES = {  # by which columns and folders call them
    **dict.fromkeys(('train', 'training', 'trainval'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validate', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclass
class Image:
    """An image and its labels.

    ``path`` is relative to the image folder, ``where`` says where it was listed, ``split`` is None
    where it is still to be chosen, and images of one ``group``, such as a patient, get the same.
    ``unknown`` and ``absent`` are the classes of which this is said; all others are absent, or
    unknown where the image is not ``complete``.
    """

    path: str
    labels: set[str]
    where: str
    split: str | None = None
    unknown: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    complete: bool = True
    group: str | None = None

    def known(self) -> set[str] | None:
        """The classes of which something is known; None: all but ``unknown``."""
        return None if self.complete else self.labels | self.absent - self.unknown

    def unknown_of(self, classes: list[str]) -> list[str]:
        """Those of the classes that nobody annotated in this image."""
        known = self.known()
        if known is None:
            return [name for name in classes if name in self.unknown] if self.unknown else []
        return [name for name in classes if name not in known]


def count_unknown(images: list[Image], classes: list[str]) -> tuple[Counter, int]:
    """In how many images each class is unknown, and in how many all are."""
    counts, names, partly, empty = Counter(), {*classes}, 0, 0
    for image in images:
        known = image.known()
        if known is None:
            counts.update(image.unknown & names)
            empty += image.unknown >= names
        else:  # of thousands of classes nearly all may be unknown: count the others
            counts.subtract(known & names)
            partly += 1
            empty += known.isdisjoint(names)
    totals = {name: counts[name] + partly for name in classes}
    return Counter({name: count for name, count in totals.items() if count}), empty


def stratify(
    labels: list[set[str]],
    shares: dict[str, float],
    seed: int,
    groups: list[str | None] | None = None,
) -> list[str]:
    """A split for each image, such that every class is shared out like the images.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011): the rarest class first,
    each of its images to the split that lacks most of that class. What differs: images of a group
    go together; at the end a class without a training image gets one, and a split without a label
    gets an image that training can spare, if there is one.

    Args:
        labels (list[set[str]]): Of each image.
        shares (dict[str, float]): Of each split, summing to 1, 'train' among them.
        seed (int): Of the order of the images and of ties.
        groups (list[str | None], optional): Of each image; None is in no group. Defaults to None:
            no image is.
    """
    parts: dict[object, list[int]] = {}  # what stays together
    for index, group in enumerate(groups or [None] * len(labels)):
        parts.setdefault(index if group is None else group, []).append(index)
    placed = _place_parts([[labels[i] for i in part] for part in parts.values()], shares, seed)
    splits = {i: split for part, split in zip(parts.values(), placed) for i in part}
    return [splits[index] for index in range(len(labels))]


def _place_parts(parts: list[list[set[str]]], shares: dict[str, float], seed: int) -> list[str]:
    """:func:`stratify` of parts, each the labels of its images."""
    labels = [Counter(itertools.chain(*part)) for part in parts]
    images = sum(map(len, parts))
    shares = {split: share for split, share in shares.items() if share > 0}
    generator = random.Random(seed)
    order = generator.sample(range(len(labels)), len(labels))
    parts_of: dict[str, list[int]] = {}
    for index in order:
        for label in sorted(labels[index]):
            parts_of.setdefault(label, []).append(index)
    left = _total(labels)
    lacking = {split: Counter() for split in shares}
    for split, share in shares.items():
        lacking[split].update({label: share * count for label, count in left.items()})
        lacking[split][None] = share * images  # of all images
    queue = [(count, name) for name, count in left.items()]
    heapq.heapify(queue)
    chosen: dict[int, str] = {}

    def place(index: int, label: str | None) -> None:
        split = max(shares, key=lambda s: (lacking[s][label], lacking[s][None], generator.random()))
        chosen[index] = split
        lacking[split].subtract(labels[index])
        lacking[split][None] -= len(parts[index])
        left.subtract(labels[index])
        for name in labels[index]:
            heapq.heappush(queue, (left[name], name))

    while queue:
        count, rarest = heapq.heappop(queue)
        if count == left[rarest]:  # else it has another entry
            for index in parts_of[rarest]:
                if index not in chosen:
                    place(index, rarest)
    for index in order:
        if index not in chosen:
            place(index, None)
    for members in parts_of.values():
        if all(chosen[index] != 'train' for index in members):
            chosen[members[0]] = 'train'
    for split, share in shares.items():
        members = [index for index in order if chosen[index] == split]
        if share * images < 0.5 or any(labels[index] for index in members):
            continue
        training = [index for index in order if chosen[index] == 'train']
        counts = _total(labels[index] for index in training)
        for index in training:
            if labels[index] and all(counts[name] > n for name, n in labels[index].items()):
                chosen[index] = split
                chosen.update(dict.fromkeys(members[:1], 'train'))
                break
    return [chosen[index] for index in range(len(parts))]


def _total(counts: Iterable[Counter]) -> Counter:
    """Their sum, of many."""
    total = Counter()
    for count in counts:
        total.update(count)
    return total


def choose_splits(images: list[Image], val: float, test: float, seed: int) -> str:
    """Fill in ``split`` where it is None; returns what was done, in words.

    Given splits are kept. Where all are given and lack validation images, ``val`` of the training
    images become some; a given split without test images stays so.
    """
    given = {image.split for image in images}
    if None in given:
        free = [image for image in images if image.split is None]
        shares = dict(train=1 - val - test, val=val, test=test)
        words = f'chosen at random (seed {seed}), each class in proportion'
    else:
        words = 'as given'
        if 'train' not in given:
            raise ValueError(f'no image is in the split train, only in {sorted(given)}')
        if 'val' in given or not val:
            return words
        free = [image for image in images if image.split == 'train']
        shares = dict(train=1 - val, val=val)
        words += f'; {val:.0%} of the training images (seed {seed}) are for validation'
    labels, groups = [image.labels for image in free], [image.group for image in free]
    for image, split in zip(free, stratify(labels, shares, seed, groups)):
        image.split = split
    for split, share in shares.items():
        if share > 0 and not any(image.split == split for image in images):
            names = {image.group for image in free} - {None}
            if names:
                raise ValueError(
                    f'{counted(len(free), "image")} of {counted(len(names), "group")}: too few '
                    f'groups for {share:.0%} in {split}, as all images of one share a split. Give '
                    f'a larger --{split}, 0 to go without, or no --group-column'
                )
            counts = Counter(label for image in free for label in image.labels)
            rare = sum(count * share < 1 for count in counts.values())
            raise ValueError(
                f'{counted(len(free), "image")}: too few for {share:.0%} in {split}, which would '
                f'be {len(free) * share:.3g} images: each class is split in proportion; classes '
                f'with fewer than {math.ceil(1 / share)} images: {rare} of {len(counts)}. Give a '
                f'larger --{split}, 0 to go without, or a column of splits'
            )
    return words


def keep_splits(images: list[Image], folder: Path) -> str:
    """Give images, and others of their groups, the split that they have in a data set.

    Args:
        images (list[Image]): Those whose split is None change.
        folder (Path): With what :func:`.labels.label_texts` wrote.

    Returns:
        str: How many there are, in words, and a warning if it has images of a group in several.

    Raises:
        OSError: There is no such data set.
        ValueError: It is none, none of its images is among these, or one has another split here.
    """
    splits: dict[str, str] = {}
    for split in SPLITS:
        file = folder / f'{split}.json'
        if file.exists() or split == 'train':
            try:
                names = [entry['img_path'] for entry in read_json(file)['data_list']]
                splits |= dict.fromkeys(names, split)
            except (KeyError, TypeError) as error:
                raise ValueError(f'{file}: not labels that from_csv.py wrote') from error
    kept = [image for image in images if image.path in splits]
    if not kept:
        such = f', such as {next(iter(splits))!r},' if splits else ''
        raise ValueError(
            f'{folder}: none of its {len(splits)} images{such} is among these {len(images)}, '
            f'such as {images[0].path!r}'
        )
    other = next((x for x in kept if x.split not in (None, splits[x.path])), None)
    if other:
        raise ValueError(
            f'{other.where}: {other.path} is given as {other.split}, but {folder} has it in '
            f'{splits[other.path]}: leave out --splits-of, or what gives the splits'
        )
    groups, torn = {}, set()
    for image in kept:
        split = splits[image.path]
        if image.group is not None and groups.setdefault(image.group, split) != split:
            torn.add(image.group)
    for image in images:
        image.split = image.split or splits.get(image.path) or groups.get(image.group)
    said = f'{len(kept)} of the {len(splits)} images of {folder} are here, and stay in their split'
    if torn:
        said += (
            f'\nwarning: {folder} has images of one group in different splits ({len(torn)} of '
            f'{len(groups)}, such as {min(torn)!r}), and a model would be tested on what it has '
            'seen'
        )
    return said


def check_positives(splits: dict[str, list[Image]]) -> None:
    """ValueError if a split has images and none of them has a label."""
    for split, members in splits.items():
        if members and not any(image.labels for image in members):
            raise ValueError(
                f'none of the {len(members)} images for {split} has a label, and '
                + ('nothing could be learnt' if split == 'train' else 'no metric is defined')
                + f': put some with labels there, or none (--{split} 0)' * (split != 'train')
            )


def find_split_names(tables: set[Path]) -> dict[Path, str | None]:
    """The split that the name of each table, or else of its folder, says, as train_2 and val2017.

    A folder that all tables are in says none.
    """
    folders = {table: table.resolve().parent for table in tables}
    places = len({*folders.values()})
    return {
        table: _split_of(table.stem) or (_split_of(folder.name) if places > 1 else None)
        for table, folder in folders.items()
    }


def _split_of(name: str) -> str | None:
    """The one split that the words of a name say."""
    words = re.split(r'[\W\d_]+', name.lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None
