"""Pascal VOC as a multi-label data set, with its faults named."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from mlic.files import read_xml
from mlic.names import counted, first_names, printable, short

from .label_cache import digest_file, digest_folder, load_labels
from .list_files import IMAGE_SUFFIXES, check_exists, check_present, list_folders_of, read_list
from .own_data.labels import spelling_of


@DATASETS.register_module()
class VOCMultiLabel(VOC):
    """`Pascal VOC <http://host.robots.ox.ac.uk/pascal/VOC/>`_, in mmpretrain's form and place.

    ``gt_label`` has the classes of the objects that are not difficult, ``gt_label_difficult`` the
    classes of which an image has difficult objects only: negatives in training, and next to the
    target for the metric, if the pipeline packs it as a meta key. An object whose ``<difficult>``
    is missing or empty is not difficult. With ``metainfo=dict(classes=...)``, objects of other
    classes are left out, and the log has their number. All images of the list are looked for in
    one listing of the image folder: with any suffix of an image, else by the ``<filename>`` of the
    XML file. The list may be that of a class, with -1, 0 or 1 behind each name. Arguments are those
    of mmpretrain's ``VOC``, on a local disk.

    Expected: VOC 2007 has 5,011 trainval and 4,952 test images, VOC 2012 11,540 trainval images.

    Raises:
        FileNotFoundError: If the list, an XML file, an image or a folder is missing.
        ValueError: If ``data_prefix`` has no ``ann_path``, the list is empty, or an XML file is
            not in VOC's form or names a class that VOC does not have or that differs from one of
            ``classes`` in case or blanks only, an image is there with several suffixes, or two XML
            files are of one image.
    """

    def load_data_list(self) -> list[dict]:
        """Read the classes of every image, in the order of the list."""
        names = self._read_names()
        check_exists(self.img_prefix, Path.is_dir)
        cached = load_labels(
            self.image_set_path,
            [
                digest_file(self.image_set_path),
                digest_folder(self.ann_prefix, [f'{name}.xml' for name in names]),
            ],
            dict(type='VOCMultiLabel', classes=list(self.CLASSES)),
            lambda: self._parse(names),
        )
        images = self._find_images(names, cached['files'])
        data_list = [
            dict(
                img_path=str(Path(self.img_prefix) / image),
                gt_label=gt_label,
                gt_label_difficult=difficult,
            )
            for image, gt_label, difficult in zip(images, cached['labels'], cached['difficult'])
        ]
        repeated = len(names) - len(set(names))
        print_log(
            f'{self.image_set_path}: {counted(len(names), "image")} of VOC, '
            f'{sum(not gt_label for gt_label in cached["labels"])} without a label kept, '
            f'{repeated} listed again, {cached["left_out"]} objects of other classes left out',
            'current',
            logging.WARNING if repeated else logging.INFO,
        )
        return data_list

    def label_files(self) -> list[Path]:
        """The list, and the XML file of each of its images."""
        xml = (Path(self.ann_prefix or '') / f'{name}.xml' for name in self._read_names())
        return [Path(self.image_set_path), *xml]

    def _read_names(self) -> list[str]:
        """The names of the list; those alone where it is a class's, with -1, 0 or 1 behind them."""
        if self.ann_prefix is None:
            raise ValueError(f'{self.image_set_path}: data_prefix needs ann_path, for the labels')
        names = read_list(self.image_set_path)
        flagged = [re.fullmatch(r'(.*\S)\s+(-1|0|1)', name) for name in names]
        if all(flagged) and not (Path(self.ann_prefix) / f'{names[0]}.xml').is_file():
            names = [match[1] for match in flagged]
        present = {file for file, _ in list_folders_of(self.ann_prefix, names)}
        for place, name in enumerate(names):
            if f'{name}.xml' not in present:  # some write a.jpg for a, and \\ for /
                stem, suffix = os.path.splitext(name.replace('\\', '/'))
                names[place] = stem + suffix * (suffix.lower() not in IMAGE_SUFFIXES)
        check_present(self.ann_prefix, [f'{name}.xml' for name in names], self.image_set_path)
        return names

    def _find_images(self, names: Sequence[str], files: Sequence[str]) -> list[str]:
        """The image of each name: with its suffix, else as the XML file calls it.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If there are several, and the XML file names none of them.
        """
        present = {file for file, _ in list_folders_of(self.img_prefix, names)}
        images_of: dict[str, list[str]] = {}
        for image in sorted(present):
            stem, suffix = os.path.splitext(image)
            if suffix.lower() in IMAGE_SUFFIXES:
                images_of.setdefault(stem, []).append(image)
        images, name_of = [], {}
        for name, file in zip(names, files):
            file = '/'.join(filter(None, [name.rpartition('/')[0], file]))
            found = images_of.get(name) or [file] * (file in present)
            if len(found) > 1:
                if file not in found:
                    raise ValueError(
                        f'{self.ann_prefix}/{name}.xml: its <filename> must name one of '
                        f'{first_names(found, form=printable)}'
                    )
                found = [file]
            images += found or [f'{name}.jpg']
            first = name_of.setdefault(images[-1], name)
            if first != name:
                raise ValueError(
                    f'{self.ann_prefix}: {printable(first)}.xml and {printable(name)}.xml are both '
                    f'of {printable(images[-1])}; which image belongs to each?'
                )
        check_present(self.img_prefix, images, self.image_set_path)
        return images

    def _parse(self, names: Sequence[str]) -> dict:
        """Names of images in the XML files, labels, difficult labels, objects of other classes."""
        class_to_idx = self.class_to_idx
        spellings = {spelling_of(name): name for name in self.CLASSES}
        files, labels, difficult, left_out = [], [], [], 0
        for name in names:
            file, found = read_annotation(Path(self.ann_prefix) / f'{name}.xml')
            files.append(file)
            other = sorted(label for label, _ in found if label not in class_to_idx)
            if other and tuple(self.CLASSES) == self.METAINFO['classes']:
                raise ValueError(
                    f'{self.ann_prefix}/{name}.xml: {len(other)} of {len(found)} objects are not '
                    f'of the {len(class_to_idx)} classes of VOC, such as {short(other[0])}; own '
                    'classes go into metainfo=dict(classes=...)'
                )
            for label in other:
                alike = spelling_of(label)
                if alike in spellings:
                    raise ValueError(
                        f'{self.ann_prefix}/{name}.xml: {short(label)} is not a class, but looks '
                        f'like the class {short(spellings[alike])}: spell them alike'
                    )
            left_out += len(other)
            easy = {class_to_idx[label] for label, hard in found if label not in other and not hard}
            hard = {class_to_idx[label] for label, hard in found if label not in other and hard}
            labels.append(sorted(easy))
            difficult.append(sorted(hard - easy))
        return dict(files=files, labels=labels, difficult=difficult, left_out=left_out)


def read_annotation(path: Path) -> tuple[str, list[tuple[str, bool]]]:
    """The name of the image in an XML file, '' without one; class and difficulty of each object."""
    root = read_xml(path)
    if root.tag != 'annotation':
        raise ValueError(f'{path}: begins with <{printable(root.tag)}>, expected <annotation>')
    file = (root.findtext('filename') or '').strip().replace('\\', '/').split('/')[-1]
    objects, items = [], root.findall('object')
    hidden = sum(item.tag.lower() == 'object' for item in root.iter()) - len(items)
    if hidden:
        raise ValueError(
            f'{path}: {counted(hidden, "object")} would be missed, in another element than '
            '<annotation> or not written <object>'
        )
    for number, item in enumerate(items, 1):
        for key in ('name', 'difficult'):
            if len(item.findall(key)) > 1:
                raise ValueError(f'{path}: object {number} has more than one {key}')
        name = (item.findtext('name') or '').strip()
        difficult = (item.findtext('difficult') or '').strip() or '0'
        if not name:
            raise ValueError(f'{path}: object {number} has no name')
        if difficult not in ('0', '1'):
            raise ValueError(
                f'{path}: object {number} ({printable(name)}) has difficult '
                f'{short(difficult)}, expected 0 or 1'
            )
        objects.append((name, difficult == '1'))
    return file, objects
