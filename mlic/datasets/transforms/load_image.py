"""Images of a pipeline, from files."""

from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from mlic.image_reader import read_image


@TRANSFORMS.register_module()
class LoadImageStrict(BaseTransform):
    """Load an image with :func:`read_image`; what cannot be read is an error, never skipped.

    Replaces mmcv's ``LoadImageFromFile`` and gives the same keys. In a pipeline that
    starts from an image instead of a path, as mmpretrain's inferencers have it, it does nothing.

    **Required Keys:** ``img_path``

    **Added Keys:** ``img`` (BGR, uint8, (H, W, 3)), ``img_shape``, ``ori_shape`` (height, width)

    Args:
        backend_args (dict, optional): See ``mmengine.fileio.get``. Defaults to None.
        reduce_to (int, optional): See :func:`read_image`. Defaults to None.

    Raises:
        ImageReadError: See :func:`read_image`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mlic.datasets import LoadImageStrict
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = f'{folder.name}/photo.png'
        >>> Image.new('RGB', (64, 48)).save(path)
        >>> LoadImageStrict()(dict(img_path=path))['img'].shape
        (48, 64, 3)
    """

    def __init__(self, backend_args: dict | None = None, reduce_to: int | None = None) -> None:
        self.backend_args = backend_args
        self.reduce_to = reduce_to

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``."""
        if 'img' in results and 'img_path' not in results:
            return results
        results['img'] = read_image(results['img_path'], self.backend_args, self.reduce_to)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f'{name}(backend_args={self.backend_args}, reduce_to={self.reduce_to})'
