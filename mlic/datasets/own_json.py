"""The JSON of a user's own images, checked when it is read."""

import os

import mmpretrain.datasets
from mmpretrain.registry import DATASETS

from mlic.files import read_json
from mlic.names import short

from .list_files import check_exists, label_fault, labels_text, name_in_folder, with_unknown


@DATASETS.register_module(force=True)
class MultiLabelDataset(mmpretrain.datasets.MultiLabelDataset):
    r"""mmpretrain's ``MultiLabelDataset``, which it replaces in the registry, with checks.

    The same files give the same items: ``{"metainfo": {"classes": ["cat", ...]}, "data_list":
    [{"img_path": "a.jpg", "gt_label": [0, 2]}, ...]}``. An image may also have
    ``"gt_label_unknown": [1]``, classes that nobody annotated; one in neither list is absent.
    Or it has ``"gt_label_absent": [1]``, and a class in neither list is unknown.
    What differs: a file that is not in this form is refused in one line, and so are labels outside
    of the classes (mmpretrain takes -1 for the last class), listed twice or both present and
    unknown, images listed again with other labels, and classes that ``metainfo`` of the config has
    in another order; and an image that is not there as
    ``folder\a.jpg`` is looked for as ``folder/a.jpg``. Paths may be absolute or lead out of
    ``data_prefix``, as in mmpretrain, where the folder may be left out altogether. Arguments are
    mmpretrain's; a file that is not local, or not ``.json``, is left to it.

    Raises:
        FileNotFoundError: If ``ann_file`` is missing.
        ValueError: If it is not in that form, or has no image.

    Example:
        >>> import json
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mlic.datasets import MultiLabelDataset
        >>> folder = tempfile.TemporaryDirectory()
        >>> images = [dict(img_path='a.jpg', gt_label=[0, 1])]
        >>> labels = dict(metainfo=dict(classes=['cat', 'dog']), data_list=images)
        >>> _ = Path(folder.name, 'train.json').write_text(json.dumps(labels))
        >>> MultiLabelDataset(f'{folder.name}/train.json').get_cat_ids(0)
        [0, 1]
    """

    def load_data_list(self) -> list[dict]:
        """The images in the order of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If labels do not fit the classes, or an image is listed twice with different
                ones.
        """
        self.ann_file = str(self.ann_file)  # a Path, below such a data_root
        if '://' in self.ann_file or not self.ann_file.endswith('.json'):
            return super().load_data_list()
        check_exists(self.ann_file)
        content = read_json(self.ann_file)
        metainfo, data_list = self._check(content)
        self._check_order(metainfo.get('classes', []))
        for key, value in metainfo.items():
            self._metainfo.setdefault(key, value)
        classes = self._metainfo.get('classes')
        num_classes = None if classes is None else len(classes)
        faults: dict[str, list[dict]] = {}
        for item in data_list:
            fault = self._fault_of(item, num_classes)
            if fault:
                faults.setdefault(fault, []).append(item)
        if faults:
            found = (
                f'{what} in {len(items)} of {len(data_list)} images, such as '
                f'{short(items[0].get("img_path"))}: ' + labels_text(*_stated(items[0]))
                for what, items in faults.items()
            )
            raise ValueError(f'{self.ann_file}: {"; ".join(found)}')
        seen: dict[tuple, dict] = {}
        for item in data_list:
            paths = (
                os.path.normpath(os.path.join(x, item[key])) for key, x in self.data_prefix.items()
            )
            both = [_stated(x) for x in (seen.setdefault(tuple(paths), item), item)]
            if any(sorted(one) != sorted(other) for one, other in zip(*both)):
                raise ValueError(
                    f'{self.ann_file}: {short(item.get("img_path"))} is listed again with '
                    f'different labels, {" and ".join(labels_text(*one) for one in both)}'
                )
        return [self.parse_data_info(item) for item in data_list]

    def get_data_info(self, idx: int) -> dict:
        """An image's path and labels; ``gt_label_unknown`` if some classes are."""
        return with_unknown(super().get_data_info(idx), len(self._metainfo.get('classes') or ()))

    def _fault_of(self, item: dict, num_classes: int | None) -> str | None:
        """What is wrong with the labels of an image, None if nothing is."""
        if 'gt_label_absent' in item and 'gt_label_unknown' in item:
            return 'both gt_label_absent and gt_label_unknown'
        if 'gt_label_absent' in item and num_classes is None:
            return 'gt_label_absent without classes in metainfo'
        labels, others, key = _stated(item)
        return label_fault(labels, num_classes, others, key)

    def _check_order(self, names: list[str]) -> None:
        """ValueError if a class of the config has another number in the file, where labels are."""
        numbers = {name: number for number, name in enumerate(names)}
        for number, name in enumerate(self._metainfo.get('classes') or ()):
            if numbers.get(name, number) != number:
                raise ValueError(
                    f'{self.ann_file}: its class {numbers[name]} is {name!r}, which metainfo of '
                    f"the config has as class {number}: the numbers of labels are the file's"
                )

    def _check(self, content: object) -> tuple[dict, list[dict]]:
        """The two parts of the file; paths have the ``/`` of this system."""
        content = content if isinstance(content, dict) else {}
        metainfo, data_list = content.get('metainfo'), content.get('data_list')
        if not isinstance(metainfo, dict) or not isinstance(data_list, list):
            raise ValueError(
                f'{self.ann_file}: expected '
                '{"metainfo": {"classes": [...]}, "data_list": [...]}'
            )
        if 'classes' not in metainfo and 'categories' in metainfo:  # mmpretrain's other form
            try:
                categories = sorted(metainfo['categories'], key=lambda category: category['id'])
                metainfo['classes'] = [category['category_name'] for category in categories]
            except (KeyError, TypeError) as error:
                raise ValueError(f'{self.ann_file}: categories without id and name') from error
        classes = metainfo.get('classes', [])
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f'{self.ann_file}: its classes are not a list of names')
        if not data_list:
            raise ValueError(f'{self.ann_file}: 0 images in its data_list')
        for number, item in enumerate(data_list):
            for key, prefix in self.data_prefix.items():
                if not isinstance(item, dict) or key not in item:
                    raise ValueError(
                        f'{self.ann_file}: data_list[{number}] is {short(item)}, expected '
                        f'{{"{key}": "a.jpg", "gt_label": [0, 2]}}'
                    )
                item[key] = name_in_folder(item[key], prefix, self.ann_file)
        return metainfo, data_list


def _stated(item: dict) -> tuple[object, object, str]:
    """What the file says of an image: its labels, the other list, and the name of that."""
    key = 'gt_label_absent' if 'gt_label_absent' in item else 'gt_label_unknown'
    return item.get('gt_label'), item.get(key, ()), key
