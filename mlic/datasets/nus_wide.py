"""NUS-WIDE as a multi-label data set, in its three published forms."""

import ast
from pathlib import Path

from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from mlic.files import read_csv
from mlic.names import short

from .label_cache import digest_file, load_labels
from .list_files import check_exists, check_present, read_list, used_images

NUSWIDE_CONCEPTS = (
    'airport', 'animal', 'beach', 'bear', 'birds', 'boats', 'book', 'bridge', 'buildings', 'cars',
    'castle', 'cat', 'cityscape', 'clouds', 'computer', 'coral', 'cow', 'dancing', 'dog',
    'earthquake', 'elk', 'fire', 'fish', 'flags', 'flowers', 'food', 'fox', 'frost', 'garden',
    'glacier', 'grass', 'harbor', 'horses', 'house', 'lake', 'leaf', 'map', 'military', 'moon',
    'mountain', 'nighttime', 'ocean', 'person', 'plane', 'plants', 'police', 'protest', 'railroad',
    'rainbow', 'reflection', 'road', 'rocks', 'running', 'sand', 'sign', 'sky', 'snow', 'soccer',
    'sports', 'statue', 'street', 'sun', 'sunset', 'surf', 'swimmers', 'tattoo', 'temple', 'tiger',
    'tower', 'town', 'toy', 'train', 'tree', 'valley', 'vehicle', 'water', 'waterfall', 'wedding',
    'whales', 'window', 'zebra',
)  # fmt: skip

VARIANTS = ('official', 'matrix', 'csv')
CSV_SPLITS = dict(train='train', val='test', test='test')  # the CSV calls its test images 'val'


@DATASETS.register_module()
class NUSWIDE(MultiLabelDataset):
    """`NUS-WIDE <https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html>`_
    with its 81 concepts, in one of its published forms.

    After decompression, the dataset directory structure is as follows: ::

        nuswide
        ├── Flickr                              images
        │   ├── actor/0001_2124494179.jpg
        │   └── ...
        ├── ImageList
        │   ├── TrainImagelist.txt              official, matrix: actor\\0001_2124494179.jpg
        │   ├── TestImagelist.txt
        │   ├── Labels_Train.txt                matrix: 81 columns of 0 and 1
        │   └── Labels_Test.txt
        ├── Groundtruth/TrainTestLabels
        │   ├── Labels_airport_Train.txt        official: 0 or 1 a line, a file per concept
        │   └── ...
        └── nus_wid_data.csv                    csv: filepath,label,split

    'official' and 'matrix' are the split of the authors, 161,789 / 107,859 images; 125,449 /
    83,898 of them have a label, and the paper's numbers are taken to be of these. 'csv' is another
    split, that of ASL: 119,103 / 50,720. Numbers on the two are not comparable.

    Args:
        data_root (str): Root of everything else. Defaults to ''.
        split (str): 'train' or 'test'. Defaults to 'train'.
        variant (str): 'official', 'matrix' or 'csv'. Defaults to 'official'.
        labelled_only (bool): Drop images without a label, as published; the log has their
            number. Defaults to True.
        ann_file (str): Image list or CSV, relative to ``data_root``. The label matrix lies next to
            the list. Defaults to '': the place shown above.
        data_prefix (str | dict): Image folder. Defaults to 'Flickr'.
        **kwargs: Of mmpretrain's ``BaseDataset``, such as ``pipeline``, or
            ``metainfo=dict(classes=...)`` for own classes.

    Raises:
        FileNotFoundError: If a list, a label file or the image folder is missing, or the folder
            does not hold the first image of the list.
        ValueError: If ``split`` or ``variant`` is unknown, a list and its labels differ in length,
            a line is not in the variant's form, or a concept is unknown.
    """  # noqa: E501

    METAINFO = {'classes': NUSWIDE_CONCEPTS}

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        variant: str = 'official',
        labelled_only: bool = True,
        ann_file: str = '',
        data_prefix: str | dict = 'Flickr',
        **kwargs,
    ) -> None:
        for value, known, what in (
            (split, ('train', 'test'), 'split'),
            (variant, VARIANTS, 'variant'),
        ):
            if value not in known:
                raise ValueError(f'{what} must be one of {known}, but got {value!r}')
        self.split = split
        self.variant = variant
        self.labelled_only = labelled_only
        if not ann_file:
            image_list = f'ImageList/{split.capitalize()}Imagelist.txt'
            ann_file = 'nus_wid_data.csv' if variant == 'csv' else image_list
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the concepts of every image, in the order of the list."""
        cached = load_labels(
            self.ann_file,
            [digest_file(path) for path in self.label_files()],
            dict(
                type='NUSWIDE', split=self.split, variant=self.variant, classes=list(self.CLASSES)
            ),
            self._parse,
        )
        items = [
            dict(img_path=name, gt_label=gt_label)
            for name, gt_label in zip(cached['names'], cached['labels'])
        ]
        of = f' of NUS-WIDE ({self.variant}, {self.split})'
        return used_images(items, self.img_prefix, self.ann_file, of, self.labelled_only)

    def label_files(self) -> list[Path]:
        """The image list, or CSV, and the files with labels that go with it."""
        return [Path(self.ann_file), *self._matrices()]

    def _matrices(self) -> list[Path]:
        """The files with labels that go with the image list."""
        split = self.split.capitalize()
        if self.variant == 'official':
            folder = Path(self.data_root) / 'Groundtruth' / 'TrainTestLabels'
            return [folder / f'Labels_{name}_{split}.txt' for name in self.CLASSES]
        if self.variant == 'matrix':
            return [Path(self.ann_file).with_name(f'Labels_{split}.txt')]
        return []

    def _parse(self) -> dict:
        """Names, relative to the image folder, and labels of all images of the split."""
        if self.variant == 'csv':
            names, labels = self._read_csv()
        else:
            names = read_list(self.ann_file)
            matrix = self.variant == 'matrix'
            labels = self._read_matrix(len(names)) if matrix else self._read_official(len(names))
        return dict(names=[name.replace('\\', '/') for name in names], labels=labels)

    def _read_label_lines(self, path: Path, num_images: int) -> list[str]:
        """Lines of a label file that goes with the image list."""
        lines = read_list(path)
        if len(lines) != num_images:
            raise ValueError(
                f'{path}: found {len(lines)} lines, expected {num_images}, one for each image of '
                f'{self.ann_file}'
            )
        return lines

    def _read_official(self, num_images: int) -> list[list[int]]:
        """Labels from one file of 0 and 1 per concept."""
        files = self._matrices()
        check_present(files[0].parent, [path.name for path in files], self.ann_file)
        labels = [[] for _ in range(num_images)]
        for label, path in enumerate(files):
            for row, value in enumerate(self._read_label_lines(path, num_images)):
                if value == '1':
                    labels[row].append(label)
                elif value != '0':
                    raise ValueError(f'{path}, line {row + 1}: {short(value)} is not 0 or 1')
        return labels

    def _read_matrix(self, num_images: int) -> list[list[int]]:
        """Labels from one row of 0 and 1 per image."""
        (path,) = self._matrices()
        labels = []
        for row, line in enumerate(self._read_label_lines(path, num_images)):
            values = line.split()
            if len(values) != len(self.CLASSES):
                raise ValueError(
                    f'{path}, line {row + 1}: found {len(values)} columns, expected '
                    f'{len(self.CLASSES)}, one for each class'
                )
            unknown = set(values) - {'0', '1'}
            if unknown:
                raise ValueError(f'{path}, line {row + 1}: {short(min(unknown))} is not 0 or 1')
            labels.append([label for label, value in enumerate(values) if value == '1'])
        return labels

    def _read_csv(self) -> tuple[list[str], list[list[int]]]:
        """Image names and labels of the split from the CSV."""
        check_exists(self.ann_file)
        rows = read_csv(self.ann_file)
        _, header = next(rows, (1, []))
        header = [cell.strip() for cell in header]
        split_key = 'split_name' if 'split_name' in header else 'split'
        columns = ('filepath', 'label', split_key)
        if not set(columns) <= set(header):
            raise ValueError(f'{self.ann_file}: its columns {short(header)} lack {columns}')
        places = [header.index(key) for key in columns]
        names, labels = [], []
        known = {}  # most rows repeat the concepts of another
        for number, row in rows:
            where = f'{self.ann_file}, line {number}'
            if len(row) != len(header):
                raise ValueError(f'{where}: found {len(row)} columns, expected {len(header)}')
            name, text, split = (row[place].strip() for place in places)
            if split not in CSV_SPLITS:
                raise ValueError(f'{where}: split {short(split)} is not one of {tuple(CSV_SPLITS)}')
            if CSV_SPLITS[split] == self.split:
                if text not in known:
                    known[text] = self._parse_concepts(text, where)
                names.append(name)
                labels.append(list(known[text]))
        if not names:
            raise ValueError(f'{self.ann_file}: found 0 rows of the split {self.split!r}')
        return names, labels

    def _parse_concepts(self, text: str, where: str) -> list[int]:
        """Labels of a list of names, written as Python writes it."""
        try:
            names = ast.literal_eval(text)
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{where}: {short(text)} is not a list of names such as ['lake', 'sky']"
            )
        class_to_idx = self.class_to_idx
        unknown = [name for name in names if name not in class_to_idx]
        if unknown:
            raise ValueError(
                f'{where}: {len(unknown)} of {len(names)} concepts are not among the '
                f'{len(class_to_idx)} classes, such as {short(unknown[0])}'
            )
        return sorted({class_to_idx[name] for name in names})
