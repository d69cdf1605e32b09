"""COCO as a multi-label data set."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

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


@DATASETS.register_module()
class COCOMultiLabel(MultiLabelDataset):
    """`MS-COCO <https://cocodataset.org>`_ as a multi-label data set: its published instances.

    After decompression, the dataset directory structure is as follows: ::

        coco
        ├── annotations
        │   ├── instances_train2014.json
        │   └── instances_val2014.json
        ├── train2014
        │   ├── COCO_train2014_000000000009.jpg
        │   └── ...
        └── val2014
            └── ...

    An image has the classes of all its annotations, crowds included, as in the code of the
    published methods. The classes are numbered in the order of their category ids, which have
    gaps. Any other file in COCO's form works too, with ``metainfo=dict(classes=...)``.

    Images without an annotation are kept unless ``labelled_only``: train2014 / val2014 have
    82,783 / 40,504 images (what SADCL and Query2Label use), 82,081 / 40,137 with a label (what
    ML-GCN's lists hold).

    Args:
        ann_file (str): Annotation file, relative to ``data_root``.
        data_root (str): Root of ``ann_file`` and ``data_prefix``. Defaults to ''.
        data_prefix (str | dict): Image folder. Defaults to ``dict(img_path='train2014')``.
        labelled_only (bool): Drop images without an annotation. Defaults to False.
        pipeline (Sequence): Processing pipeline. Defaults to ().
        test_mode (bool): See mmpretrain's ``BaseDataset``. Defaults to False.
        metainfo (dict, optional): Own classes, as ``dict(classes=...)``. Defaults to None.
        indices (int | Sequence[int], optional): Use these images only. Defaults to None.
        serialize_data (bool): See mmpretrain's ``BaseDataset``. Defaults to True.
        lazy_init (bool): See mmpretrain's ``BaseDataset``. Defaults to False.
        max_refetch (int): See mmpretrain's ``BaseDataset``. Defaults to 1000.

    Raises:
        FileNotFoundError: If the annotation file or the image folder is missing, or the folder
            does not hold the first image of the file.
        ValueError: If the file is not in COCO's form, holds no images or no annotations, other
            categories than ``classes``, or annotations of unknown images or categories.

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
        data_prefix: Optional[Union[str, dict]] = None,
        labelled_only: bool = False,
        pipeline: Sequence = (),
        test_mode: bool = False,
        metainfo: Optional[dict] = None,
        indices: Optional[Union[int, Sequence[int]]] = None,
        serialize_data: bool = True,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self.labelled_only = labelled_only
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=dict(img_path='train2014') if data_prefix is None else data_prefix,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def load_data_list(self) -> list[dict]:
        """Read the classes of every image, in the order of the image ids."""
        for path, exists in ((self.ann_file, Path.is_file), (self.img_prefix, Path.is_dir)):
            if not exists(Path(path)):
                raise FileNotFoundError(
                    f'{path} not found; docs/datasets.md shows where COCO comes from and goes'
                )
        coco = self._read()
        self._check(coco)

        class_of = {cat_id: label for label, cat_id in enumerate(sorted(coco.cats))}
        data_list = []
        for img_id in sorted(coco.imgs):
            gt_label = sorted({class_of[ann['category_id']] for ann in coco.imgToAnns[img_id]})
            if gt_label or not self.labelled_only:
                img_path = str(Path(self.img_prefix) / coco.imgs[img_id]['file_name'])
                data_list.append(dict(img_path=img_path, img_id=img_id, gt_label=gt_label))
        if not Path(data_list[0]['img_path']).is_file():
            raise FileNotFoundError(
                f'{data_list[0]["img_path"]} not found: is {self.img_prefix} the folder of the '
                f'{len(coco.imgs)} images of {self.ann_file}? See docs/datasets.md'
            )
        return data_list

    def _read(self):
        """Let pycocotools read the annotation file, without its prints."""
        from pycocotools.coco import COCO  # only here: other data sets do without pycocotools

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return COCO(self.ann_file)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.ann_file}: not a file of COCO's form ({error!r})") from error

    def _check(self, coco) -> None:
        """Compare the file with itself and with the classes."""
        annotations = coco.dataset.get('annotations', [])
        for items, what in ((coco.imgs, 'images'), (annotations, 'annotations')):
            if not items:
                raise ValueError(f'{self.ann_file}: found 0 {what}, expected at least 1')
        found = [coco.cats[cat_id]['name'] for cat_id in sorted(coco.cats)]
        expected = list(self.metainfo['classes'])
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
