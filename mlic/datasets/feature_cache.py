"""Train on stored feature maps of a frozen backbone instead of images.

Shapes in this module: N images, V = 2 stored views (the image, its mirror image), K channels of the
feature map, h x w cells.
"""

import glob
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate
from mmpretrain.registry import TRANSFORMS
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from mlic.cores import usable_cores
from mlic.files import ESCAPED, FileWriteError, map_array, read_json, write_json

from .label_cache import locked

MIRROR = ('never', 'random', 'both')
SHARD = 4096  # images: no more are lost when the system ends a process


class FeatureCache:
    """Feature maps of images in a folder, found by the images' paths.

    Each shard is a pair of files: ``NAME.npy``, float16 (N, V, K, h, w), and ``NAME.json``, the N
    paths. A shard without its list does not count: the list is written last.

    Args:
        folder (str | Path): Where the shards are; it may be missing or empty.

    Raises:
        FileNotFoundError: If a list has no features.
        ValueError: If a list does not fit its features, or a file is not one of features.

    Example:
        >>> import tempfile
        >>> from mlic.datasets import DigitScenes, FeatureCache
        >>> from mlic.models import EfficientNetLite, MultiLabelDataPreprocessor
        >>> folder = tempfile.TemporaryDirectory()
        >>> scenes = DigitScenes(num_images=2, pipeline=[dict(type='PackInputs')])
        >>> preprocess = MultiLabelDataPreprocessor(num_classes=10)
        >>> cache = FeatureCache(folder.name)
        >>> cache.add(scenes, preprocess, EfficientNetLite(pretrained=False))
        2
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.places: dict[str, tuple[np.ndarray, int]] = {}
        self._open_all()

    def __contains__(self, img_path: str) -> bool:
        return img_path in self.places

    def __getitem__(self, img_path: str) -> np.ndarray:
        """Both views of an image, (V, K, h, w) float16.

        Raises:
            KeyError: If the image has no features.
        """
        if img_path not in self.places:
            raise KeyError(f'{img_path}: no features of this image in {self.folder}')
        features, row = self.places[img_path]
        return np.array(features[row])

    @torch.no_grad()
    def add(
        self, dataset: Dataset, preprocess: nn.Module, backbone: nn.Module, log=lambda line: None
    ) -> int:
        """Compute the features of those images of a data set that have none.

        Args:
            dataset (Dataset): With the test pipeline.
            preprocess (nn.Module): The model's data preprocessor.
            backbone (nn.Module): Its backbone, put into evaluation mode. The last item of its
                output is stored.
            log (callable): Takes a line of progress, about ten times. Defaults to none.

        Returns:
            int: How many images were added.

        Raises:
            ValueError: If a feature is not finite in float16, or the images have no paths.
            FileWriteError: If the system refuses a file; shards written before stay.
        """
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        if infos and 'img_path' not in infos[0]:
            raise ValueError(f'{type(dataset).__name__} has no image files to store features of')
        paths = [info['img_path'] for info in infos]
        if all(path in self for path in paths):
            return 0
        backbone.eval()
        backbone.to(memory_format=torch.channels_last)  # convolutions are faster so, on a CPU, too
        # a GPU would wait for one process that reads images
        on_gpu = any(parameter.is_cuda for parameter in backbone.parameters())
        workers = min(8, usable_cores() - 1) if on_gpu else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, 'features') as lock:
            drafts = _drafts_of(lock) if lock else 'tmp_'
            for old in self.folder.glob(f'{glob.escape(drafts)}*') if lock else ():
                shutil.rmtree(old, ignore_errors=True)  # of one that was killed: its lock stayed
            self._open_all()  # another process may have added some meanwhile
            missing = [index for index, path in enumerate(paths) if path not in self]
            for start in range(0, len(missing), SHARD):
                part = missing[start : start + SHARD]
                subset, names = Subset(dataset, part), [paths[index] for index in part]
                loader = DataLoader(subset, 32, num_workers=workers, collate_fn=default_collate)
                with tempfile.TemporaryDirectory(dir=self.folder, prefix=drafts) as temporary:
                    draft, done = Path(temporary) / 'features.npy', start
                    for batch in loader:
                        rows = _both_views(batch, preprocess, backbone)
                        if not np.isfinite(rows).all():
                            first = names[done - start]
                            raise ValueError(f'features of {first} or its batch overflow float16')
                        _append(draft, rows, len(part) if done == start else None)
                        before, done = done, done + len(rows)
                        if done * 10 // len(missing) > before * 10 // len(missing):
                            log(f'features of {done} / {len(missing)} images')
                    self._publish(draft, names)
        return len(missing)

    def _publish(self, draft: Path, paths: list[str]) -> None:
        """Give a finished shard its name; two writers of the same images write the same files."""
        name = hashlib.sha256('\n'.join(paths).encode('utf-8', ESCAPED)).hexdigest()[:12]
        os.replace(draft, self.folder / f'{name}.npy')
        write_json(self.folder / f'{name}.json', paths, indent=None)
        self._open(self.folder / f'{name}.json')

    def _open_all(self) -> None:
        """Map all shards that are there."""
        for file in sorted(self.folder.glob('*.json')):
            self._open(file)

    def _open(self, listing: Path) -> None:
        """Map the shard that a list belongs to."""
        paths, file = read_json(listing), listing.with_suffix('.npy')
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise ValueError(f'{listing} is not a list of image paths: remove it and {file.name}')
        features = map_array(file)
        shape = next((others.shape[1:] for others, _ in self.places.values()), features.shape[1:])
        if features.dtype != np.float16 or features.ndim != 5 or features.shape[1] != 2:
            raise ValueError(
                f'{file} holds {features.dtype} of shape {features.shape}, not float16 of (N, 2, '
                f'K, h, w): remove it and {listing.name}'
            )
        if len(paths) != len(features):
            raise ValueError(
                f'{listing} lists {len(paths)} images, and {file.name} has {len(features)}: remove '
                'both files'
            )
        if features.shape[1:] != shape:
            raise ValueError(
                f'{file} has features of shape {features.shape[1:]}, others here of {shape}: '
                f'remove it and {listing.name}'
            )
        self.places.update((path, (features, row)) for row, path in enumerate(paths))


def _drafts_of(lock: Path) -> str:
    """How folders of drafts begin whose processes share a lock; a job may have its own there."""
    stat = lock.stat()
    return f'tmp_{platform.node()}_{stat.st_dev}_{stat.st_ino}_'


def _both_views(batch: dict, preprocess: nn.Module, backbone: nn.Module) -> np.ndarray:
    """Features of a batch of B images and their mirror images, (B, V, K, h, w) float16."""
    inputs = preprocess(batch)['inputs'].to(memory_format=torch.channels_last)
    views = [backbone(x)[-1].half().cpu().numpy() for x in (inputs, inputs.flip(-1))]
    return np.stack(views, axis=1)


def _append(draft: Path, rows: np.ndarray, count: int | None) -> None:
    """Write rows of an ``.npy`` file, the first ones after its header: ``count`` will follow."""
    try:
        with draft.open('ab') as file:
            if count is not None:
                header = dict(descr='<f2', fortran_order=False, shape=(count, *rows.shape[1:]))
                np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.tobytes())
    except OSError as error:
        raise FileWriteError(
            f'{draft} was not written ({error.strerror or error}); features stored before are kept'
        ) from error


@TRANSFORMS.register_module()
class LoadFeature(BaseTransform):
    """Stored features instead of an image: ``img`` is a (K, h, w) float16 tensor, or two.

    Args:
        folder (str): Of a :class:`FeatureCache`.
        mirror (str): 'never': those of the image. 'random': those of its mirror image in half of
            the cases. 'both': a list of both, as ``MultiView`` makes of two views.
            Defaults to 'never'.

    Raises:
        ValueError: If ``mirror`` is none of these.

    Example:
        >>> import tempfile
        >>> from mlic.datasets import DigitScenes, FeatureCache, LoadFeature
        >>> from mlic.models import EfficientNetLite, MultiLabelDataPreprocessor
        >>> folder = tempfile.TemporaryDirectory()
        >>> scenes = DigitScenes(num_images=2, pipeline=[dict(type='PackInputs')])
        >>> preprocess = MultiLabelDataPreprocessor(num_classes=10)
        >>> FeatureCache(folder.name).add(scenes, preprocess, EfficientNetLite(pretrained=False))
        2
        >>> path = scenes.get_data_info(1)['img_path']
        >>> LoadFeature(folder.name)(dict(img_path=path))['img'].shape
        torch.Size([1280, 4, 4])
    """

    def __init__(self, folder: str, mirror: str = 'never') -> None:
        if mirror not in MIRROR:
            raise ValueError(f'mirror must be one of {MIRROR}, got {mirror!r}')
        self.folder = folder
        self.mirror = mirror
        self.cache = None

    def transform(self, results: dict) -> dict:
        """Add ``img``."""
        if self.cache is None:  # each worker maps the files itself
            self.cache = FeatureCache(self.folder)
        views = [torch.from_numpy(view) for view in self.cache[results['img_path']]]
        if self.mirror == 'both':
            results['img'] = views
        else:
            mirrored = self.mirror == 'random' and np.random.random() < 0.5
            results['img'] = views[int(mirrored)]
        return results
