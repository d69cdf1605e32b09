"""Images from files: decoded right, or an error that names the file."""

from pathlib import Path
from typing import Optional, Union

import cv2
import mmengine.fileio
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8\xff', 0xDA, b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'


class ImageReadError(ValueError):
    """An image that cannot be read; its message is one line with the file and the fault."""


def read_image(path: Union[str, Path], backend_args: Optional[dict] = None) -> np.ndarray:
    """Read a whole image as colours, turned upright as its EXIF orientation says.

    Grey and CMYK images become colours, 16 bits are scaled to 8 by their upper byte, and an alpha
    channel is dropped, not blended: the colours under transparent pixels appear, as with Pillow's
    ``convert('RGB')``, with which the published methods read their images. (In a GIF, transparent
    pixels are black.) Bytes after the end of an image are ignored, as cameras and
    servers leave some.

    A file that was cut off would decode to an image with a grey rest in many releases of OpenCV.
    Its end marker is missing, which costs no time to see. Damage before an end marker is not
    seen: decoders conceal it.

    Args:
        path (str | Path): A file, or an address that mmengine's file backends know (``http://``,
            ``s3://``).
        backend_args (dict, optional): See ``mmengine.fileio.get``. Defaults to None.

    Returns:
        np.ndarray: BGR, uint8, (H, W, 3).

    Raises:
        ImageReadError: If the file is missing, cannot be opened, is empty, cut off, or not an
            image.
    """
    try:
        content = mmengine.fileio.get(str(path), backend_args=backend_args)
    except FileNotFoundError as error:
        raise ImageReadError(f'{path}: image not found') from error
    except OSError as error:
        raise ImageReadError(f'{path}: cannot be opened ({_one_line(error)})') from error
    if not content:
        raise ImageReadError(f'{path}: an empty file, expected an image')
    if not _is_whole(content):
        raise ImageReadError(
            f'{path}: the image is cut off: its end is missing after {len(content)} bytes'
        )
    try:
        img = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageReadError(f'{path}: cannot be decoded ({_one_line(error)})') from error
    if img is None:
        raise ImageReadError(
            f'{path}: not an image that OpenCV decodes, or a damaged one '
            f'({len(content)} bytes that start with {content[:8]!r})'
        )
    return img


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; True for the other formats."""
    if content.startswith(JPEG_START):
        # An EXIF thumbnail is a JPEG with an end of its own: search after the header. Image data
        # cannot contain the marker, since 0xFF is stuffed there.
        return content.endswith(JPEG_END) or content.find(JPEG_END, _find_scan(content)) >= 0
    if content.startswith(PNG_START):
        return content.endswith(PNG_END) or content.rfind(PNG_END) >= 0
    return True


def _find_scan(content: bytes) -> int:
    """Where the image data of a JPEG begin: segments (0xFF, kind, length, ...) come before."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        kind = content[position + 1]
        if kind == JPEG_SCAN:
            break
        if kind == 0xFF:  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
    return position


@TRANSFORMS.register_module()
class LoadImageStrict(BaseTransform):
    """Load an image with :func:`read_image`; what cannot be read is an error, never skipped.

    Takes the place of mmcv's ``LoadImageFromFile`` and gives the same keys. In a pipeline that
    starts from an image instead of a path, as mmpretrain's inferencers have it, it does nothing.

    **Required Keys:** ``img_path``

    **Added Keys:** ``img`` (BGR, uint8, (H, W, 3)), ``img_shape``, ``ori_shape`` (height, width)

    Args:
        backend_args (dict, optional): See ``mmengine.fileio.get``. Defaults to None.

    Raises:
        ImageReadError: See :func:`read_image`.
    """

    def __init__(self, backend_args: Optional[dict] = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``."""
        if 'img' in results and 'img_path' not in results:
            return results
        results['img'] = read_image(results['img_path'], self.backend_args)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(backend_args={self.backend_args})'
