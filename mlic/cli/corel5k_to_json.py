"""Convert the label files of Corel5k: JSON as mmpretrain's MultiLabelDataset reads it.

    python tools/dataset_tools/corel5k_to_json.py data/corel5k --out data/corel5k_json

Written to OUT (SRC is only read, it may be a link to a read-only folder):

- ``train.json``, ``test.json``: the two splits over the words that occur in both (260), the
  customary protocol. Paths are relative to SRC (``data_prefix='data/corel5k'``). An image that
  has none of these words keeps an empty label list: it is a negative of every class.
- ``train_part.json``, ``val.json``: ``train.json`` cut in two, to choose hyper-parameters
  without looking at the test split (``--val-fraction 0`` leaves them out).
- ``frequent_words.txt``: those of the words with at least 50 training images (74), one a line.
- ``frequent/``: the JSON files once more, over the frequent words alone.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from mlic.cli import arguments
from mlic.datasets.list_files import read_list
from mlic.engine.runner.errors import one_line_errors
from mlic.files import write_texts
from mlic.names import repeated, short

MIN_TRAINING_IMAGES = 50  # of a frequent word


def read_words(path: Path) -> list[str]:
    """The vocabulary, one word a line."""
    words = ' '.join(read_list(path)).split()
    twice = sorted(repeated(words))
    if twice:
        raise ValueError(
            f'{path}: expected unique words, got {len(words)} with {short(twice)} repeated'
        )
    return words


def read_split(path: Path, image_folder: Path, num_words: int) -> dict[str, list[int]]:
    """A label file, ``imageid word word …`` a line: {image path relative to SRC: word numbers}.

    Word numbers count from 1 in the file and from 0 in the result, sorted and unique.
    """
    split: dict[str, list[int]] = {}
    for number, line in enumerate(read_list(path), 1):
        where = f'{path}, line {number}'
        values = line.split()
        if len(values) < 2 or not all(value.isdecimal() and len(value) < 10 for value in values):
            raise ValueError(f'{where}: expected "imageid word word ...", got {short(line)}')
        unknown = [int(value) for value in values[1:] if not 1 <= int(value) <= num_words]
        if unknown:
            raise ValueError(f'{where}: word number {unknown[0]} is not in 1..{num_words}')
        image = image_folder / f'{values[0]}.jpeg'
        if not image.is_file():
            raise FileNotFoundError(f'{where}: image {values[0]} is listed, but {image} is absent')
        img_path = f'{image_folder.name}/{image.name}'
        if img_path in split:
            raise ValueError(f'{where}: image {values[0]} is listed for the second time')
        split[img_path] = sorted({int(value) - 1 for value in values[1:]})
    return split


def convert(source: Path, out: Path, val_fraction: float, seed: int) -> None:
    """Read SRC, write the JSON files and the frequent words to OUT, print the counts."""
    words = read_words(source / 'labels' / 'words')
    train = read_split(source / 'labels' / 'training_label', source / 'train_jpeg', len(words))
    test = read_split(source / 'labels' / 'test_label', source / 'test_jpeg', len(words))

    counts = Counter(word for labels in train.values() for word in labels)
    kept = sorted(set(counts) & {word for labels in test.values() for word in labels})
    frequent = [word for word in kept if counts[word] >= MIN_TRAINING_IMAGES]
    print(f'{len(words)} words: {len(counts)} in training, {len(kept)} in both splits')
    print(f'{len(frequent)} frequent words (at least {MIN_TRAINING_IMAGES} training images)')

    splits = dict(train=train, test=test)
    if val_fraction > 0:
        count = max(round(val_fraction * len(train)), 1)
        if count >= len(train):
            raise ValueError(
                f'--val-fraction {val_fraction} of {len(train)} images leaves none to train on'
            )
        held_out = set(random.Random(seed).sample(list(train), count))
        splits['train_part'] = {x: labels for x, labels in train.items() if x not in held_out}
        splits['val'] = {x: labels for x, labels in train.items() if x in held_out}

    texts = json_texts(out, splits, words, kept)
    texts |= json_texts(out / 'frequent', splits, words, frequent)
    texts[out / 'frequent_words.txt'] = '\n'.join(words[word] for word in frequent) + '\n'
    write_texts(texts)
    print(f'{out / "frequent_words.txt"}: {len(frequent)} words')


def json_texts(
    out: Path, splits: dict[str, dict[str, list[int]]], words: list[str], kept: list[int]
) -> dict[Path, str]:
    """The JSON files over some words, other labels dropped; prints the counts."""
    texts = {}
    index = {word: place for place, word in enumerate(kept)}
    for name, split in splits.items():
        data_list = [
            dict(img_path=img_path, gt_label=[index[word] for word in labels if word in index])
            for img_path, labels in split.items()
        ]
        content = dict(metainfo=dict(classes=[words[word] for word in kept]), data_list=data_list)
        path = out / f'{name}.json'
        texts[path] = json.dumps(content, ensure_ascii=False) + '\n'
        empty = sum(not item['gt_label'] for item in data_list)
        print(f'{path}: {len(data_list)} images, {empty} of them without one of the words')
    return texts


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Convert the label files of Corel5k to JSON')
    what = 'folder of the label files (%(default)s)'
    source = dict(metavar='SRC', type=Path, nargs='?', default='data/corel5k')
    parser.add_argument('source', help=what, **source)
    what = 'folder to write (%(default)s)'
    parser.add_argument('--out', type=Path, default='data/corel5k_json', help=what)
    arguments.add_number(parser, '--val-fraction', 0.1, 'share of train, for val.json', 0, below=1)
    arguments.add_seed(parser, 'of the choice of val.json')
    args = parser.parse_args(argv)
    convert(args.source, args.out, args.val_fraction, args.seed)
