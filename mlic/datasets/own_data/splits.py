"""Which of a user's own images are for training, validation and testing."""

import random
from collections import Counter
from dataclasses import dataclass

SPLITS = ('train', 'val', 'test')
SPLIT_NAMES = {  # by which columns and folders call them
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclass
class Image:
    """An image and its labels.

    ``path`` is relative to the image folder, ``where`` says where it was listed, and
    ``split`` is None where it is still to be chosen.
    """

    path: str
    labels: set[str]
    where: str
    split: str | None = None


def stratify(labels: list[set[str]], shares: dict[str, float], seed: int) -> list[str]:
    """A split for each image, such that every class is shared out like the images.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011): the rarest class first,
    each of its images to the split that lacks most of that class. What differs: at the end a class
    without a training image gets one.

    Args:
        labels (list[set[str]]): Of each image.
        shares (dict[str, float]): Of each split, summing to 1, 'train' among them.
        seed (int): Of the order of the images and of ties.
    """
    shares = {split: share for split, share in shares.items() if share > 0}
    generator = random.Random(seed)
    order = generator.sample(range(len(labels)), len(labels))
    images_of: dict[str, list[int]] = {}
    for index in order:
        for label in sorted(labels[index]):
            images_of.setdefault(label, []).append(index)
    lacking = {split: Counter() for split in shares}
    for split, share in shares.items():
        lacking[split].update({label: share * len(images) for label, images in images_of.items()})
        lacking[split][None] = share * len(labels)  # of all images
    left = Counter({label: len(images) for label, images in images_of.items()})
    chosen: dict[int, str] = {}

    def place(index: int, label: str | None) -> None:
        split = max(shares, key=lambda s: (lacking[s][label], lacking[s][None], generator.random()))
        chosen[index] = split
        lacking[split].subtract([*labels[index], None])
        left.subtract(labels[index])

    todo = set(images_of)
    while todo:
        rarest = min(todo, key=lambda name: (left[name], name))
        todo.remove(rarest)
        for index in images_of[rarest]:
            if index not in chosen:
                place(index, rarest)
    for index in order:
        if index not in chosen:
            place(index, None)
    for images in images_of.values():
        if all(chosen[index] != 'train' for index in images):
            chosen[images[0]] = 'train'
    return [chosen[index] for index in range(len(labels))]


def choose_splits(images: list[Image], val: float, test: float, seed: int) -> str:
    """Fill in ``split`` where it is None; returns what was done, in words.

    Given splits are kept. Where they lack validation images, ``val`` of the training images
    become some; a given split without test images stays so.
    """
    given = {image.split for image in images}
    if None in given:
        free, shares = images, dict(train=1 - val - test, val=val, test=test)
        words = f'chosen at random (seed {seed}), every class shared out alike'
    else:
        words = 'as given'
        if 'train' not in given:
            raise ValueError(f'no image is in the split train, only in {sorted(given)}')
        if 'val' in given or not val:
            return words
        free = [image for image in images if image.split == 'train']
        shares = dict(train=1 - val, val=val)
        words += f'; {val:.0%} of the training images (seed {seed}) are for validation'
    for image, split in zip(free, stratify([image.labels for image in free], shares, seed)):
        image.split = split
    for split, share in shares.items():
        if share > 0 and not any(image.split == split for image in free):
            raise ValueError(
                f'{len(free)} images are too few for {share:.0%} in {split}: give a larger '
                f'--{split}, or 0 to go without'
            )
    return words
