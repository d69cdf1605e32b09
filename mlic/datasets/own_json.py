"""The JSON of a user's own images, checked when it is read."""

import os

import mmpretrain.datasets
from mmpretrain.registry import DATASETS

from mlic.files import read_json
from mlic.names import short

from .list_files import check_exists, image_name, label_faults, labels_text


@DATASETS.register_module(force=True)
class MultiLabelDataset(mmpretrain.datasets.MultiLabelDataset):
    r"""mmpretrain's ``MultiLabelDataset``, which it replaces in the registry, with checks.

    The same files give the same items: ``{"metainfo": {"classes": ["cat", ...]}, "data_list":
    [{"img_path": "a.jpg", "gt_label": [0, 2]}, ...]}``. An image may also have
    ``"gt_label_unknown": [1]``, the classes nobody looked for; a class in neither list is absent.
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
        """The images in the order of the file."""
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
        labels = [item.get('gt_label') for item in data_list]
        unknown = [item.get('gt_label_unknown', ()) for item in data_list]
        faults = label_faults(labels, num_classes, unknown)
        if faults:
            found = (
                f'{what} in {len(images)} of {len(labels)} images, such as '
                f'{short(data_list[first].get("img_path"))}: '
                + labels_text(labels[first], unknown[first])
                for what, images in faults.items()
                for first in images[:1]
            )
            raise ValueError(f'{self.ann_file}: {"; ".join(found)}')
        seen: dict[tuple, dict] = {}
        for item in data_list:
            paths = (
                os.path.normpath(os.path.join(x, item[key])) for key, x in self.data_prefix.items()
            )
            first = seen.setdefault(tuple(paths), item)
            both = [(x['gt_label'], x.get('gt_label_unknown', ())) for x in (first, item)]
            if any(sorted(one) != sorted(other) for one, other in zip(*both)):
                raise ValueError(
                    f'{self.ann_file}: {short(item.get("img_path"))} is listed again with '
                    f'different labels, {" and ".join(labels_text(*one) for one in both)}'
                )
        return [self.parse_data_info(item) for item in data_list]

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
                item[key] = image_name(item[key], prefix, self.ann_file)
        return metainfo, data_list
