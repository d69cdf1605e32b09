"""Images from files: decoded right, or an error that names the file."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import mmengine.fileio
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8\xff', 0xDA, b'\xff\xd9'
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # segments that hold the size
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'


class ImageReadError(ValueError):
    """An image that cannot be read; its message is one line with the file and the fault."""


def read_image(
    path: str | Path, backend_args: dict | None = None, reduce_to: int | None = None
) -> np.ndarray:
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
        reduce_to (int, optional): A JPEG of at least twice this many pixels on its shorter side is
            decoded at 1/2, 1/4 or 1/8 of its size, the smallest that still has them: several times
            faster for photographs of today's cameras. Defaults to None: at its full size.

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
        img = cv2.imdecode(np.frombuffer(content, np.uint8), _flag(content, reduce_to))
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


def _flag(content: bytes, reduce_to: int | None) -> int:
    """How to decode: in full, or the smallest size of a JPEG that has ``reduce_to`` pixels."""
    if reduce_to is None or not content.startswith(JPEG_START):
        return cv2.IMREAD_COLOR
    for kind, position in _segments(content):
        if kind in JPEG_FRAMES:
            size = content[position + 5 : position + 9]  # height and width
            shorter = min(int.from_bytes(size[:2], 'big'), int.from_bytes(size[2:], 'big'))
            fitting = (factor for factor in REDUCED if shorter >= factor * reduce_to)
            return REDUCED.get(next(fitting, 1), cv2.IMREAD_COLOR)
    return cv2.IMREAD_COLOR


def _find_scan(content: bytes) -> int:
    """Where the image data of a JPEG begin, or its segments end."""
    return [*_segments(content)][-1][1]


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Kind and place of a JPEG's segments (0xFF, kind, length, ...); last its data, or kind 0."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        kind = content[position + 1]
        if kind == 0xFF:  # a fill byte
            position += 1
            continue
        yield kind, position
        if kind == JPEG_SCAN:
            return
        position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
    yield 0, position


@TRANSFORMS.register_module()
class LoadImageStrict(BaseTransform):
    """Load an image with :func:`read_image`; what cannot be read is an error, never skipped.

    Takes the place of mmcv's ``LoadImageFromFile`` and gives the same keys. In a pipeline that
    starts from an image instead of a path, as mmpretrain's inferencers have it, it does nothing.

    **Required Keys:** ``img_path``

    **Added Keys:** ``img`` (BGR, uint8, (H, W, 3)), ``img_shape``, ``ori_shape`` (height, width)

    Args:
        backend_args (dict, optional): See ``mmengine.fileio.get``. Defaults to None.
        reduce_to (int, optional): See :func:`read_image`. Defaults to None.

    Raises:
        ImageReadError: See :func:`read_image`.
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
