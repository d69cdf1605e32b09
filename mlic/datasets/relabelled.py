"""What data sets share that read another one with fewer labels."""

from mmengine.dataset import Compose
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import Dataset


class Relabelled(Dataset):
    """The images of another data set, with the labels that :meth:`_hide` leaves.

    Args:
        of (str): Type of the data set, ``self.source``.
        pipeline (Sequence): Transforms, which get what is left. Defaults to ().
        **source: More arguments of the data set.
    """

    def __init__(self, of: str, pipeline=(), **source) -> None:
        self.source = DATASETS.build(dict(type=of, pipeline=(), **source))
        self.CLASSES = self.source.metainfo.get('classes')
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self.pipeline = Compose(steps)

    @property
    def metainfo(self) -> dict:
        """That of the data set, with the classes of this one."""
        return {**self.source.metainfo, 'classes': self.CLASSES}

    def full_init(self) -> None:
        """Read its labels."""
        self.source.full_init()

    def __len__(self) -> int:
        return len(self.source)

    def get_data_info(self, idx: int) -> dict:
        """What is known of an image, from the end if ``idx`` < 0, before the pipeline."""
        idx = range(len(self.source))[idx]
        return self._hide(self.source.get_data_info(idx), idx)

    def __getitem__(self, idx: int) -> dict:
        """The image after the pipeline."""
        idx = range(len(self.source))[idx]
        return self.pipeline(self._hide(self.source[idx], idx))

    def _hide(self, info: dict, idx: int) -> dict:
        """A copy of what the data set says of its image ``idx``, with other labels."""
        raise NotImplementedError
