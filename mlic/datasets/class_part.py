"""A part of the classes of a data set, such as a teacher learns."""

from mmpretrain.registry import DATASETS

from mlic.files import read_class_file
from mlic.names import first_names

from .relabelled import Relabelled


@DATASETS.register_module()
class ClassPart(Relabelled):
    r"""Another data set with only a part of its classes; images without any of these stay.

    In a config it takes two keys more than the data set itself: ``dataset=dict(type='ClassPart',
    of='MultiLabelDataset', part='data/parts/co-0.txt')``, merged into the base's.

    Args:
        of (str): Type of the data set.
        part (str): A text file with the name of a class on each line, in their order.
        pipeline (Sequence): Transforms. Defaults to ().
        **source: More arguments of the data set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it names no class, one twice, or one that the data set does not have.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mlic.datasets import ClassPart
        >>> folder = tempfile.TemporaryDirectory()
        >>> part = Path(folder.name, 'part.txt')
        >>> _ = part.write_text('zero\nfour\n')
        >>> scenes = ClassPart('DigitScenes', str(part), num_images=4)
        >>> [scenes.get_data_info(index)['gt_label'] for index in range(4)]
        [[0, 1], [0], [], [0]]
    """

    def __init__(self, of: str, part: str, pipeline=(), **source) -> None:
        super().__init__(of, pipeline, **source)
        names = read_class_file(part)
        theirs = list(self.CLASSES or ())
        strange = [name for name in names if name not in theirs]
        if strange:
            raise ValueError(
                f'{part} names {first_names(strange, 3, repr)}, and {of} has '
                f'{len(theirs)} classes: {first_names(theirs, 3, repr)}'
            )
        self.CLASSES = tuple(names)
        self.places = {theirs.index(name): place for place, name in enumerate(names)}

    def _hide(self, info: dict, idx: int) -> dict:
        """Renumber the classes of the part, in every list of labels; drop the others."""
        lists = ('gt_label', 'gt_label_unknown', 'gt_label_difficult')
        places = self.places
        found = {
            key: sorted(places[label] for label in info[key] if label in places)
            for key in lists
            if key in info
        }
        return {**info, **found}

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self.CLASSES)} classes, {self.source})'
