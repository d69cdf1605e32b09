"""Pascal VOC as a multi-label data set, with its faults named."""

import logging
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from .label_cache import digest_file, digest_folder, load_labels
from .list_files import check_files, read_lines


@DATASETS.register_module()
class VOCMultiLabel(VOC):
    """`Pascal VOC <http://host.robots.ox.ac.uk/pascal/VOC/>`_, in mmpretrain's form and place.

    ``gt_label`` has the classes of the objects that are not difficult, ``gt_label_difficult`` the
    classes of which an image has difficult objects only: negatives in training, and beside the
    target for the metric, if the pipeline packs it as a meta key. An object whose ``<difficult>``
    is missing or empty is not difficult. With ``metainfo=dict(classes=...)``, objects of other
    classes are left out, and the log has their number. All images of the list are looked for in
    one listing of the image folder. Arguments are those of mmpretrain's ``VOC``, on a local disk.

    Expected: VOC 2007 has 5,011 trainval and 4,952 test images, VOC 2012 11,540 trainval images.

    Raises:
        FileNotFoundError: If the list, an XML file, an image or a folder is missing.
        ValueError: If ``data_prefix`` has no ``ann_path``, the list is empty, or an XML file is
            not in VOC's form or names a class that VOC does not have.
    """

    def load_data_list(self) -> list[dict]:
        """Read the classes of every image, in the order of the list."""
        if self.ann_prefix is None:
            raise ValueError(f'{self.image_set_path}: data_prefix needs ann_path, for the labels')
        names = read_lines(self.image_set_path)
        check_files(self.ann_prefix, [f'{name}.xml' for name in names], self.image_set_path)
        check_files(self.img_prefix, [f'{name}.jpg' for name in names], self.image_set_path)
        cached = load_labels(
            self.image_set_path,
            [
                digest_file(self.image_set_path),
                digest_folder(self.ann_prefix, [f'{name}.xml' for name in names]),
            ],
            dict(type='VOCMultiLabel', classes=list(self.CLASSES)),
            lambda: self._parse(names),
        )
        data_list = [
            dict(
                img_path=str(Path(self.img_prefix) / f'{name}.jpg'),
                gt_label=gt_label,
                gt_label_difficult=difficult,
            )
            for name, gt_label, difficult in zip(names, cached['labels'], cached['difficult'])
        ]
        repeated = len(names) - len(set(names))
        print_log(
            f'{self.image_set_path}: {len(names)} images of VOC, '
            f'{sum(not gt_label for gt_label in cached["labels"])} without a label kept, '
            f'{repeated} listed again, {cached["left_out"]} objects of other classes left out',
            'current',
            logging.WARNING if repeated else logging.INFO,
        )
        return data_list

    def _parse(self, names: Sequence[str]) -> dict:
        """Labels, difficult labels, and the number of objects of other classes."""
        class_to_idx = self.class_to_idx
        labels, difficult, left_out = [], [], 0
        for name in names:
            found = read_objects(Path(self.ann_prefix) / f'{name}.xml')
            other = sorted(label for label, _ in found if label not in class_to_idx)
            if other and tuple(self.CLASSES) == self.METAINFO['classes']:
                raise ValueError(
                    f'{self.ann_prefix}/{name}.xml: {len(other)} of {len(found)} objects are not '
                    f'of the {len(class_to_idx)} classes of VOC, such as {other[0]!r}; own '
                    'classes go into metainfo=dict(classes=...)'
                )
            left_out += len(other)
            easy = {class_to_idx[label] for label, hard in found if label not in other and not hard}
            hard = {class_to_idx[label] for label, hard in found if label not in other and hard}
            labels.append(sorted(easy))
            difficult.append(sorted(hard - easy))
        return dict(labels=labels, difficult=difficult, left_out=left_out)


def read_objects(path: Path) -> list[tuple[str, bool]]:
    """Class name and difficulty of every object of an XML file."""
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        raise ValueError(f'{path}: not whole XML ({error})') from error
    objects = []
    for number, item in enumerate(root.findall('object'), 1):
        name = (item.findtext('name') or '').strip()
        difficult = (item.findtext('difficult') or '').strip() or '0'
        if not name:
            raise ValueError(f'{path}: object {number} has no name')
        if difficult not in ('0', '1'):
            raise ValueError(
                f'{path}: object {number} ({name}) has difficult {difficult!r}, expected 0 or 1'
            )
        objects.append((name, difficult == '1'))
    return objects
