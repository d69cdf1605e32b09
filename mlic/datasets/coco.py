"""COCO as a multi-label data set."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from .label_cache import digest_file, load_labels
from .list_files import check_exists, used_images

COCO_CATEGORIES = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich',
    'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch',
    'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book',
    'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush',
)  # fmt: skip

CLASS_ORDERS = ('id', 'alphabetical')


@DATASETS.register_module()
class COCOMultiLabel(MultiLabelDataset):
    """`MS-COCO <https://cocodataset.org>`_ as a multi-label data set: its published instances.

    After decompression, the dataset directory structure is as follows: ::

        coco
        ├── annotations
        │   ├── instances_train2014.json            or 2017
        │   └── instances_val2014.json
        ├── train2014
        │   ├── COCO_train2014_000000000009.jpg     2017: 000000000009.jpg
        │   └── ...
        └── val2014
            └── ...

    An image has the classes of all its annotations, crowds included, as in the code of the
    published methods. The classes are numbered in the order of their category ids, which have
    gaps, or of their names: checkpoints and prototypes of other projects come in either order,
    the published ones of SADCL in the order of ids. Any other file in COCO's form works too, with
    ``metainfo=dict(classes=...)``.

    Images without an annotation are kept unless ``labelled_only``: train2014 / val2014 have
    82,783 / 40,504 images (what SADCL and Query2Label use), 82,081 / 40,137 with a label (what
    ML-GCN's lists hold). train2017 / val2017 have 118,287 / 5,000, with a label 117,266 / 4,952.

    Args:
        ann_file (str): Annotation file, relative to ``data_root``.
        data_root (str): Root of ``ann_file`` and ``data_prefix``. Defaults to ''.
        data_prefix (str | dict): Image folder. Defaults to 'train2014'.
        labelled_only (bool): Drop images without an annotation. Defaults to False.
        class_order (str): 'id' or 'alphabetical'. Defaults to 'id'.
        metainfo (dict, optional): Own classes, as ``dict(classes=...)``, in the order of their
            category ids. Defaults to None.
        **kwargs: Of mmpretrain's ``BaseDataset``, such as ``pipeline`` and ``indices``.

    Raises:
        FileNotFoundError: If the annotation file or the image folder is missing, or the folder
            does not hold the first image of the file.
        ValueError: If ``class_order`` is unknown, or the file is not in COCO's form, holds no
            images or no annotations, an id twice, other categories than ``classes``, or
            annotations of unknown images or categories.

    Examples:
        >>> COCOMultiLabel(
        ...     data_root='data/coco',
        ...     ann_file='annotations/instances_val2014.json',
        ...     data_prefix=dict(img_path='val2014'))
        Dataset COCOMultiLabel
            Number of samples: 	40504
            Number of categories: 	80
            Annotation file: 	data/coco/annotations/instances_val2014.json
            Prefix of images: 	data/coco/val2014
    """

    METAINFO = {'classes': COCO_CATEGORIES}

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = 'train2014',
        labelled_only: bool = False,
        class_order: str = 'id',
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if class_order not in CLASS_ORDERS:
            raise ValueError(f'class_order must be one of {CLASS_ORDERS}, but got {class_order!r}')
        self.labelled_only = labelled_only
        self.class_order = class_order
        if class_order == 'alphabetical':
            metainfo = self._load_metainfo(metainfo)
            metainfo['classes'] = tuple(sorted(metainfo['classes']))
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the classes of every image, in the order of the image ids."""
        check_exists(self.ann_file)
        check_exists(self.img_prefix, Path.is_dir)  # before half a minute of parsing
        cached = load_labels(
            self.ann_file,
            [digest_file(self.ann_file)],
            dict(type='COCOMultiLabel', order=self.class_order, classes=list(self.CLASSES)),
            self._parse,
        )
        items = [
            dict(img_path=name, img_id=img_id, gt_label=gt_label)
            for name, img_id, gt_label in zip(cached['names'], cached['ids'], cached['labels'])
        ]
        return used_images(items, self.img_prefix, self.ann_file, labelled_only=self.labelled_only)

    def _parse(self) -> dict:
        """Names, relative to the image folder, ids and labels of all images."""
        coco = self._read()
        try:
            self._check(coco)
            label_of = self.class_to_idx
            class_of = {cat_id: label_of[cat['name']] for cat_id, cat in coco.cats.items()}
            ids = sorted(coco.imgs)
            return dict(
                names=[coco.imgs[img_id]['file_name'] for img_id in ids],
                ids=ids,
                labels=[
                    sorted({class_of[ann['category_id']] for ann in coco.imgToAnns[img_id]})
                    for img_id in ids
                ],
            )
        except (KeyError, TypeError) as error:
            raise self._not_coco(error) from error

    def _read(self):
        """Let pycocotools read the annotation file, without its prints."""
        from pycocotools.coco import COCO  # only here: other data sets do without pycocotools

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return COCO(self.ann_file)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise self._not_coco(error) from error

    def _not_coco(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.ann_file}: not a file of COCO's form ({type(error).__name__}: {error})"
        )

    def _check(self, coco) -> None:
        """Compare the file with itself and with the classes."""
        annotations = coco.dataset.get('annotations', [])
        for what in ('images', 'annotations'):
            if not coco.dataset.get(what):
                raise ValueError(f'{self.ann_file}: found 0 {what}, expected at least 1')
        for what in ('images', 'categories'):
            items = coco.dataset.get(what, [])
            counts = Counter(item['id'] for item in items)
            repeated = [item_id for item_id, count in counts.items() if count > 1]
            if repeated:
                raise ValueError(
                    f'{self.ann_file}: {len(repeated)} ids of its {len(items)} {what} are there '
                    f'more than once, such as id {repeated[0]}'
                )
        found = [coco.cats[cat_id]['name'] for cat_id in sorted(coco.cats)]
        expected = list(self.CLASSES)
        if self.class_order == 'alphabetical':
            found.sort()
        if found != expected:
            raise ValueError(
                f'{self.ann_file}: its {len(found)} categories are not the {len(expected)} '
                f'classes of the data set; only in the file: {sorted(set(found) - set(expected))}'
                f', only in the data set: {sorted(set(expected) - set(found))}. '
                'Own classes go into metainfo=dict(classes=...), in the order of their ids'
            )
        for key, known, what in (
            ('category_id', coco.cats, 'categories'),
            ('image_id', coco.imgs, 'images'),
        ):
            unknown = [ann[key] for ann in annotations if ann[key] not in known]
            if unknown:
                raise ValueError(
                    f'{self.ann_file}: {len(unknown)} of {len(annotations)} annotations are of '
                    f'{what} that the file does not list, such as {key} {unknown[0]}'
                )


def read_superclasses(path: str | Path, class_names: Sequence[str]) -> list[str]:
    """The superclass of each class, from COCO's annotation file (``supercategory``).

    Args:
        path (str | Path): JSON with ``categories``.
        class_names (Sequence[str]): C names.

    Returns:
        list[str]: C names of superclasses.

    Raises:
        ValueError: If the file has none, or misses a class.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        categories = content['categories']
        superclasses = {category['name']: category['supercategory'] for category in categories}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} has no categories with name and supercategory') from error
    missing = [name for name in class_names if name not in superclasses]
    if missing:
        raise ValueError(f'{path} has no category {missing[0]!r} ({len(missing)} are missing)')
    return [superclasses[name] for name in class_names]
