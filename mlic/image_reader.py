"""Images: read within limits and decoded right, or an error of one line that names the file.

Needs OpenCV, numpy and Pillow alone, and for files nothing else of this project: a program without
torch takes this file along, as ``mlic/demo/onnx_predict.py`` does. H x W pixels.
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

LIMIT = 'MLIC_MAX_PIXELS'  # the environment variable
MAX_PIXELS = 178_956_970  # H x W; Pillow's own limit. Three bytes each: 0.5 GB
# OpenCV reads its own limit when it is loaded: for a header that it understands in another way
_given = os.environ.get(LIMIT, '')
_limit = _given if _given.isdecimal() else str(MAX_PIXELS)
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', _limit)

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image, ImageFile, ImageOps  # noqa: E402

MAX_FILE = 2**31  # bytes

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8\xff', 0xDA, b'\xff\xd9'
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # segments that hold the size
JPEG_SCANS = 100
PPM_HEADER = 2**16  # bytes; Pillow reads them one by one
JPEG_SEGMENTS = 10_000  # to look at
MARKER = re.compile(rb'\xff[^\x00\xff]')
MARKER_IN_DATA = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')  # there, 0xFF is stuffed
JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # segments of two bytes, without a length
REDUCED = {factor: getattr(cv2, f'IMREAD_REDUCED_COLOR_{factor}') for factor in (8, 4, 2)}
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
HEIF_BRANDS = {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'}
BY_PILLOW = {  # which knows their rotation, too
    'AVIF': "Pillow 11.3 or later decodes it: pip install -U 'Pillow>=11.3'",
    'HEIF': 'pillow-heif decodes it: pip install pillow-heif',
}
FORMATS = ('BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF')  # Pillow's names


class ImageReadError(ValueError):
    """An image that cannot be read; its message is one line with the file and the fault."""


class _Fault(Exception):
    """What is wrong with an image, without its name."""


def read_image(
    path: str | Path, backend_args: dict | None = None, reduce_to: int | None = None
) -> np.ndarray:
    """Read a whole image as colours, turned upright as its EXIF orientation says.

    Grey and CMYK images become colours, 16 bits are scaled to 8 by their upper byte (of a TIFF in
    colours, OpenCV rounds), other depths of a PGM or PPM by its largest value, and an alpha channel
    is dropped, not blended: the colours under transparent pixels appear, as with Pillow's
    ``convert('RGB')``, with which the published methods read their images. (In a GIF, transparent
    pixels are black.) Of several images in a file the first one counts. Bytes after the end of an
    image are ignored, as cameras and servers leave some.

    A file that was cut off would decode to an image with a grey rest in many releases of OpenCV.
    Its end marker is missing, which costs no time to see. Damage before an end marker is not
    seen: decoders conceal it.

    Limits: the size is read before anything is decoded, and an image of more than 178,956,970
    pixels (or what the environment variable ``MLIC_MAX_PIXELS`` says) is refused; so are files of
    more than 2 GiB, and what is not a regular file. For those of an address (``http://``,
    ``https://``) see :func:`mlic.downloads.download`.

    Args:
        path (str | Path): BMP, GIF, JPEG, JPEG 2000, PNG, PBM to PPM, TIFF, WebP; AVIF with
            Pillow 11.3 or later; HEIC with pillow-heif. A file, whatever its name, or an address;
            those of other schemes (``s3://``) go to mmengine's file backends.
        backend_args (dict, optional): See ``mmengine.fileio.get``. Defaults to None.
        reduce_to (int, optional): A JPEG of at least twice this many pixels on its shorter side is
            decoded at 1/2, 1/4 or 1/8 of its size, the smallest that still has them: several times
            faster for photographs of today's cameras. Defaults to None: at its full size.

    Returns:
        np.ndarray: BGR, uint8, (H, W, 3).

    Raises:
        ImageReadError: If the file is missing, cannot be opened, is empty, cut off, or not an
            image, and for all else that goes wrong with it.
    """
    path = str(path)
    try:
        content = _fetch(path, backend_args)
    except _Fault as fault:
        raise ImageReadError(f'{_one_line(path)}: {fault}') from fault.__cause__
    return decode_image(content, reduce_to, path)


def decode_image(content: bytes, reduce_to: int | None = None, name: str = 'image') -> np.ndarray:
    """What :func:`read_image` makes of a file with this content; ``name`` is for messages."""
    try:
        return _decode(content, reduce_to)
    except _Fault as fault:
        raise ImageReadError(f'{_one_line(name)}: {fault}') from fault.__cause__


def _one_line(text: object) -> str:
    return ' '.join(str(text).splitlines())


def _fetch(path: str, backend_args: dict | None) -> bytes:
    """All bytes of a file, or of an address."""
    scheme = path.partition('://')[0].lower() if '://' in path else ''
    try:
        if scheme in ('http', 'https'):
            from mlic.downloads import download

            return download(path)
        if scheme == 'file':
            raise _Fault('addresses of files are not read: give the path alone')
        if not scheme and not backend_args:
            return _read_file(path)
        import mmengine.fileio

        return bytes(mmengine.fileio.get(path, backend_args=backend_args))
    except _Fault:
        raise
    except FileNotFoundError as error:
        raise _Fault('image not found') from error
    except KeyError as error:
        raise _Fault(f'no file backend of mmengine reads {scheme}://') from error
    except Exception as error:  # of urllib, http.client and mmengine: of dozens of kinds
        text = _one_line(error)
        if not text or not isinstance(error, OSError):
            text = f'{type(error).__name__} {text}'.strip()
        raise _Fault(f'cannot be opened ({text})') from error


def _read_file(path: str) -> bytes:
    """Never of a pipe or device, which may have no end."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _Fault('not a regular file, expected an image')
    if status.st_size > MAX_FILE:
        raise _Fault(f'a file of {status.st_size} bytes, more than the {MAX_FILE} that are read')
    with open(path, 'rb', buffering=0) as file:
        return file.read()


def _decode(content: bytes, reduce_to: int | None) -> np.ndarray:
    """The image in a file's content: BGR, uint8, (H, W, 3)."""
    if not content:
        raise _Fault('an empty file, expected an image')
    if not _is_whole(content):
        raise _Fault(f'the image is cut off: its end is missing after {len(content)} bytes')
    try:
        name = _container(content)
        image = _open(content, [name]) if name else None
        size = image.size if image else _find_size(content)
        if size is None:
            raise _Fault(
                'not an image of a known format, or a damaged one '
                f'({len(content)} bytes that start with {content[:8]!r})'
            )
        _check_size(*size)
        if name in BY_PILLOW or image and 'A' in image.mode:  # OpenCV's TIFF is premultiplied
            if name == 'TIFF':  # which Pillow would hold to its own limit
                image.im = Image.core.new(image.mode, (image.tag_v2[256], image.tag_v2[257]))
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(image.convert('RGB'))[..., ::-1].copy()
        if name == 'TIFF' and 2 in image.tag_v2.get(339, ()):  # SampleFormat
            raise _Fault('a TIFF of signed values: save it with values from 0 on')
        white = _white(content)
        flag = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if white else 0)
        if content.startswith(JPEG_START):
            _check_scans(content)
            flag = _flag(size, reduce_to)
        img = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except _Fault:
        raise
    except Exception as error:  # of OpenCV, Pillow and its plug-ins; or no memory
        text = _one_line(error) or type(error).__name__
        raise _Fault(f'cannot be decoded ({text})') from error
    if img is None:
        raise _Fault(f'not an image that OpenCV decodes, or a damaged one ({len(content)} bytes)')
    if img.ndim != 3:  # OpenCV gives a PFM its values alone
        raise _Fault('an image of floating-point values: save it with 8 or 16 bits')
    if white:
        img = np.rint(np.arange(2**16) * 255 / white).clip(0, 255).astype(np.uint8)[img]
    return img


def _check_size(width: int, height: int) -> None:
    limit = os.environ.get(LIMIT) or str(MAX_PIXELS)
    if not limit.isdecimal():
        raise _Fault(f'{LIMIT} must be a number of pixels, got {limit!r}')
    if width * height > int(limit):
        raise _Fault(
            f'{width} x {height} pixels, more than the {limit} that are decoded; set '
            f'{LIMIT}={width * height} if you trust it and memory suffices'
        )


def _check_scans(content: bytes) -> None:
    """Each scan of a progressive JPEG goes over all of its pixels; ten are usual."""
    scans = [kind for kind, _ in _segments(content)].count(JPEG_SCAN)
    if scans > JPEG_SCANS:
        raise _Fault(f'a JPEG of {scans} scans, more than the {JPEG_SCANS} that are decoded')


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; True for the other formats."""
    if content.startswith(JPEG_START):
        # other ends may stand in segments, such as that of an EXIF thumbnail, which is a JPEG
        return content.endswith(JPEG_END) or JPEG_END[1] in (kind for kind, _ in _segments(content))
    if content.startswith(PNG_START):
        place = len(PNG_START)  # of a chunk; OpenCV takes memory for what its length promises
        while (end := content[place + 4 : place + 12]) != PNG_END and end[:4].isalpha():
            place += 12 + int.from_bytes(content[place : place + 4], 'big')
        return end == PNG_END
    return True


def _container(content: bytes) -> str | None:
    """'TIFF', or 'AVIF' or 'HEIF' by the brands of an ISO media file; None of other files."""
    if content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return 'TIFF'
    if content[4:8] != b'ftyp':
        return None
    box = content[8 : min(int.from_bytes(content[:4], 'big'), 256)]
    brands = {box[place : place + 4] for place in range(0, len(box), 4)}
    if brands & {b'avif', b'avis'}:
        return 'AVIF'
    return 'HEIF' if brands & HEIF_BRANDS else None


def _find_size(content: bytes) -> tuple[int, int] | None:
    """Width and height by the header alone; None if there is none of a format that is decoded."""
    if content.startswith(PNG_START) and content[12:16] == b'IHDR':
        return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    if content.startswith(JPEG_START):
        for kind, position in _segments(content):
            if kind in JPEG_FRAMES:
                size = content[position + 5 : position + 9]
                return int.from_bytes(size[2:], 'big'), int.from_bytes(size[:2], 'big')
    if content.startswith(b'RIFF') and content[8:12] == b'WEBP':
        return _webp_size(content)
    image = _open(content, FORMATS)
    return image.size if image else None


def _white(content: bytes) -> int:
    """What is white in a PGM or PPM, if OpenCV takes another value for it; else 0."""
    if content[:2] not in (b'P2', b'P3', b'P5', b'P6'):
        return 0
    header = re.sub(rb'#[^\r\n]*', b'', content[:PPM_HEADER])
    white = int(header.split(None, 4)[3])
    is_scaled = white in (255, 2**16 - 1) or white < 255 and content[:2] in (b'P2', b'P3')
    return 0 if is_scaled else white


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """Without Pillow, which sets up a decoder to see it."""
    kind, head = content[12:16], content[20:30]
    if kind == b'VP8X':
        return int.from_bytes(head[4:7], 'little') + 1, int.from_bytes(head[7:10], 'little') + 1
    if kind == b'VP8L' and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], 'little')
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ' and head[3:6] == b'\x9d\x01\x2a':
        sides = int.from_bytes(head[6:8], 'little'), int.from_bytes(head[8:10], 'little')
        return sides[0] & 0x3FFF, sides[1] & 0x3FFF
    return None


def _open(content: bytes, formats: tuple[str] | list[str]) -> ImageFile.ImageFile | None:
    """The image by Pillow, of which no more than the header is read; None if it is of no format."""
    if 'HEIF' in formats and 'HEIF' not in Image.OPEN:
        try:
            import pillow_heif
        except ImportError as error:
            raise _Fault(f'a HEIF image, and {BY_PILLOW["HEIF"]}') from error
        pillow_heif.register_heif_opener()
    Image.init()
    for name in formats:  # Image.open would apply Pillow's limit, the same for all of a process
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or isinstance(accepts(content[:16]), str):
            raise _Fault(f'a {name} image, and {BY_PILLOW[name]}')
        if accepts(content[:16]):
            try:
                return factory(io.BytesIO(content[:PPM_HEADER] if name == 'PPM' else content), '')
            except (SyntaxError, EOFError):  # Pillow's way to say that it is damaged
                continue
    return None


def _flag(size: tuple[int, int], reduce_to: int | None) -> int:
    """How to decode a JPEG: in full, or at the smallest size that has ``reduce_to`` pixels."""
    fitting = (x for x in REDUCED if reduce_to is not None and min(size) >= x * reduce_to)
    return REDUCED.get(next(fitting, 1), cv2.IMREAD_COLOR)


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Kind and place of a JPEG's segments (0xFF, kind, length, ...) to its end, as libjpeg goes."""
    position, marker = 2, MARKER
    for _ in range(JPEG_SEGMENTS):
        found = marker.search(content, position)
        if not found:
            return
        kind, position = content[found.start() + 1], found.start()
        yield kind, position
        if kind == JPEG_END[1]:
            return
        if kind == JPEG_SCAN:  # its data follow
            marker = MARKER_IN_DATA
        position += 2
        if kind not in JPEG_BARE:
            position += int.from_bytes(content[position : position + 2], 'big')
    raise _Fault(f'a JPEG of more than {JPEG_SEGMENTS} segments')
