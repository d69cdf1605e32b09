"""Visual Genome with its 500 most frequent categories, as a multi-label data set."""

from pathlib import Path

from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from mlic.files import read_json
from mlic.names import short

from .label_cache import digest_file, load_labels
from .list_files import check_exists, read_list, used_images


@DATASETS.register_module()
class VG500(MultiLabelDataset):
    """`Visual Genome <https://homes.cs.washington.edu/~ranjay/visualgenome>`_, the 500 most
    frequent categories, in the files of SSGRL.

    After decompression, the dataset directory structure is as follows: ::

        vg500
        ├── VG_100K                             images of both parts of the download
        │   ├── 2360596.jpg
        │   └── ...
        ├── train_list_500.txt                  an image name a line
        ├── test_list_500.txt
        └── vg_category_500_labels_index.json   {"2360596.jpg": [3, 17, ...], ...}

    Expected: 82,904 training and 10,000 test images. Images without a label are kept and counted
    in the log.

    Args:
        data_root (str): Root of everything else. Defaults to ''.
        split (str): 'train' or 'test'. Defaults to 'train'.
        ann_file (str): Class indices of all images, relative to ``data_root``. Defaults to
            'vg_category_500_labels_index.json'.
        names_file (str): Class names, one a line, relative to ``data_root``. Defaults to '': the
            published files have no names, and the classes are 'class_000' to 'class_499'.
        data_prefix (str | dict): Image folder. Defaults to 'VG_100K'.
        metainfo (dict, optional): Extra meta information. Defaults to None.
        **kwargs: Of mmpretrain's ``BaseDataset``, such as ``pipeline`` and ``indices``.

    Raises:
        FileNotFoundError: If the list, the JSON, the names or the image folder is missing, or the
            folder does not hold the first image of the list.
        ValueError: If ``split`` is unknown, the JSON is not in the form above, lacks images of the
            list or has indices outside 0..499, or the names are not 500.
    """

    METAINFO = {'classes': tuple(f'class_{label:03d}' for label in range(500))}

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        ann_file: str = 'vg_category_500_labels_index.json',
        names_file: str = '',
        data_prefix: str | dict = 'VG_100K',
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be one of ('train', 'test'), but got {split!r}")
        self.split = split
        self.list_file = Path(data_root) / f'{split}_list_500.txt'
        if names_file:
            names = read_list(Path(data_root) / names_file)
            expected = len(self.METAINFO['classes'])
            if len(names) != expected:
                raise ValueError(
                    f'{Path(data_root) / names_file}: found {len(names)} names, expected {expected}'
                )
            metainfo = {'classes': tuple(names), **(metainfo or {})}
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the classes of every image, in the order of the list."""
        cached = load_labels(
            self.ann_file,
            [digest_file(path) for path in self.label_files()],
            dict(type='VG500', split=self.split, classes=list(self.CLASSES)),
            self._parse,
        )
        items = [
            dict(img_path=name, gt_label=gt_label)
            for name, gt_label in zip(cached['names'], cached['labels'])
        ]
        return used_images(items, self.img_prefix, self.list_file, f' of VG500 ({self.split})')

    def label_files(self) -> list[Path]:
        """The image list, and the JSON of class indices."""
        return [self.list_file, Path(self.ann_file)]

    def _parse(self) -> dict:
        """Names, relative to the image folder, and labels of the images of the list."""
        names = read_list(self.list_file)
        labels_of = self._read_labels()
        missing = [name for name in names if name not in labels_of]
        if missing:
            raise ValueError(
                f'{self.ann_file}: found no entry for {len(missing)} of the {len(names)} images of '
                f'{self.list_file}, such as {short(missing[0])}'
            )
        return dict(names=names, labels=[self._check(name, labels_of[name]) for name in names])

    def _read_labels(self) -> dict:
        """The JSON of class indices by image name."""
        check_exists(self.ann_file)
        labels_of = read_json(self.ann_file)
        if not isinstance(labels_of, dict):
            kind = type(labels_of).__name__
            raise ValueError(f'{self.ann_file}: a {kind}, expected {{"image": [labels]}}')
        return labels_of

    def _check(self, name: str, labels: list) -> list[int]:
        """Labels of one image, sorted, each once."""
        num_classes = len(self.CLASSES)
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError(
                f'{self.ann_file}: {short(name)} has {short(labels)}, expected a list of indices'
            )
        outside = [label for label in labels if not 0 <= label < num_classes]
        if outside:
            raise ValueError(
                f'{self.ann_file}: {short(name)} has {len(outside)} of {len(labels)} indices '
                f'outside 0..{num_classes - 1}, such as {short(outside[0])}'
            )
        return sorted(set(labels))
