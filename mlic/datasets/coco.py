"""COCO as a multi-label data set."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from mlic.files import read_json
from mlic.names import first_names, repeated, short

from .image_level import PRESENT, check_image_level, known_absent
from .label_cache import digest_file, load_labels
from .list_files import check_exists, used_images, with_unknown

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
    ``metainfo=dict(classes=...)``. A category without an annotation may be missing there, such as
    the root that Roboflow writes, id 0, which often is called like one of the classes. Images may
    be named with the ``\\`` of Windows, or by absolute paths into the image folder.

    Images that were not looked at for every class say so as those of LVIS and Open Images do:
    ``neg_category_ids`` are known to be absent, and every class that an image neither has nor lists
    there is in ``gt_label_unknown``. ``pos_category_ids`` are present without an annotation,
    ``not_exhaustive_category_ids`` without one are unknown.

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
            images or no annotations, an id twice, other categories than ``classes``, annotated
            ones of the same name, annotations of unknown images or categories, or images
            elsewhere, or an image with a class both present and absent.

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
        rows = zip(cached['names'], cached['ids'], cached['labels'], cached['absent'])
        items = [
            dict(img_path=name, img_id=img_id, gt_label=gt_label)
            | ({} if absent is None else dict(gt_label_absent=absent))
            for name, img_id, gt_label, absent in rows
        ]
        partly = sum(absent is not None for absent in cached['absent'])
        if partly:
            print_log(
                f'{self.ann_file}: {partly} images were not searched for every class; the other '
                'classes are unknown',
                'current',
            )
        return used_images(items, self.img_prefix, self.ann_file, labelled_only=self.labelled_only)

    def get_data_info(self, idx: int) -> dict:
        """An image's path, id and labels; ``gt_label_unknown`` if some classes are."""
        return with_unknown(super().get_data_info(idx), len(self.CLASSES))

    def _parse(self) -> dict:
        """Names, relative to the image folder, ids and labels of all images."""
        content = read_json(self.ann_file)
        if not isinstance(content, dict):
            raise self._not_coco(f'it holds a {type(content).__name__}, not an object')
        images = self._items(content, 'images', 'id', 'file_name')
        categories = self._items(content, 'categories', 'id', 'name')
        annotations = self._items(content, 'annotations', 'image_id', 'category_id')
        names = {image['id']: image['file_name'] for image in images}
        category_ids = {category['id'] for category in categories}
        present = check_image_level(images, category_ids, self.ann_file)
        present |= {item['category_id'] for item in annotations}
        class_of = self._match_classes(categories, present)
        for key, known, what in (
            ('category_id', category_ids, 'categories'),
            ('image_id', names, 'images'),
        ):
            unknown = [item[key] for item in annotations if item[key] not in known]
            if unknown:
                raise ValueError(
                    f'{self.ann_file}: {len(unknown)} of {len(annotations)} annotations are of '
                    f'{what} that the file does not list, such as {key} {short(unknown[0])}'
                )
        labels: dict = {image_id: set() for image_id in names}
        for item in annotations:
            labels[item['image_id']].add(class_of[item['category_id']])
        absent = {}
        for image in images:
            found = labels[image['id']]
            found.update(class_of[category] for category in image.get(PRESENT, ()))
            absent[image['id']] = known_absent(image, found, class_of, self.ann_file)
        ids = sorted(names)
        return dict(
            names=[names[image_id] for image_id in ids],
            ids=ids,
            labels=[sorted(labels[image_id]) for image_id in ids],
            absent=[absent[image_id] for image_id in ids],
        )

    def _items(self, content: dict, part: str, *keys: str) -> list[dict]:
        """A list of the file whose items have these keys; ids are all numbers or all texts."""
        items = content.get(part, [])
        if not isinstance(items, list):
            raise self._not_coco(f'its {part} are a {type(items).__name__}, not a list')
        if not items:
            raise ValueError(f'{self.ann_file}: found 0 {part}, expected at least 1')
        kinds = set()
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._not_coco(f'{part}[{number}] is {short(item)}, not an object')
            for key in keys:
                if key not in item:
                    raise self._not_coco(f'{part}[{number}] has no {key!r}')
                if not key.endswith('id'):
                    continue
                value = item[key]
                # some tools write 1.0
                if type(value) not in (int, str) and not _is_whole(value):
                    raise self._not_coco(
                        f'{part}[{number}] has the {key} {short(value)}, not a whole number'
                    )
                kinds.add((key, isinstance(value, str)))
        if len(kinds) > sum(key.endswith('id') for key in keys):
            raise self._not_coco(f'ids of its {part} are numbers in some places, text in others')
        if 'id' in keys:
            twice = repeated(item['id'] for item in items)
            if twice:
                raise ValueError(
                    f'{self.ann_file}: {len(twice)} ids of its {len(items)} {part} occur '
                    f'more than once, such as id {short(twice[0])}'
                )
        return items

    def _not_coco(self, reason: str) -> ValueError:
        return ValueError(f"{self.ann_file}: not a file of COCO's form ({reason})")

    def _match_classes(self, categories: list[dict], annotated: set) -> dict:
        """The class of each category; those without an annotation need not be a class."""
        expected = list(self.CLASSES)
        ids_of: dict[str, list] = {}
        for category in sorted(categories, key=lambda category: category['id']):
            if not isinstance(category['name'], str):
                raise self._not_coco(f'a category is called {short(category["name"])}')
            ids_of.setdefault(category['name'], []).append(category['id'])
        chosen = {}  # id to name
        for name, ids in ids_of.items():
            used = [category_id for category_id in ids if category_id in annotated]
            if len(used) > 1:
                raise ValueError(
                    f'{self.ann_file}: the categories {short(used[0])} and '
                    f'{short(used[1])} are both called {short(name)}, and both have annotations: '
                    'rename one, or write the id of the other into its annotations'
                )
            if used or name in expected:
                chosen[(used or ids[-1:])[0]] = name
        found = [chosen[category_id] for category_id in sorted(chosen)]
        if self.class_order == 'alphabetical':
            found.sort()
        if found != expected:
            only = sorted(set(ids_of) - set(expected)), sorted(set(expected) - set(ids_of))
            twice = repeated(expected)
            difference = 'they are in another order'
            if set(found) != set(expected):
                difference = (
                    f'only in the file: {short(only[0])}, only in the data set: {short(only[1])}'
                )
            elif twice:
                difference = f'the data set has {first_names(twice, form=short)} twice'
            raise ValueError(
                f'{self.ann_file}: its {len(categories)} categories are not the {len(expected)} '
                f'classes of the data set; {difference}. Own classes go into '
                'metainfo=dict(classes=...), in the order of their ids: '
                + first_names(found, form=short)
            )
        unused = [category for category in categories if category['id'] not in chosen]
        if unused:
            print_log(
                f'{self.ann_file}: {len(unused)} categories without an annotation are not classes: '
                + first_names(unused, form=lambda category: short(category['name'])),
                'current',
            )
        return {category_id: self.class_to_idx[name] for category_id, name in chosen.items()}


def _is_whole(value: object) -> bool:
    """Whether a value is a float without a fraction."""
    return isinstance(value, float) and value.is_integer()


def read_superclasses(path: str | Path, class_names: Sequence[str]) -> list[str]:
    """The superclass of each class, from COCO's annotation file (``supercategory``).

    Returns:
        list[str]: C names of superclasses.

    Raises:
        ValueError: If the file has none, or misses a class.
    """
    content = read_json(path)
    try:
        superclasses = {item['name']: item['supercategory'] for item in content['categories']}
        if not all(isinstance(name, str) for pair in superclasses.items() for name in pair):
            raise TypeError('a name is not text')
    except (KeyError, TypeError) as error:
        raise ValueError(f'{path} has no categories with name and supercategory') from error
    missing = [name for name in class_names if name not in superclasses]
    if missing:
        raise ValueError(f'{path} has no category {missing[0]!r} ({len(missing)} are missing)')
    return [superclasses[name] for name in class_names]
