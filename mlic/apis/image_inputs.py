"""What users give for images, and the test pipeline that takes it. H x W pixels."""

import glob
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Lock

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from mlic.datasets.pictures import LOADERS
from mlic.datasets.wrappers import pipeline_of
from mlic.engine.runner.tta import TTA
from mlic.image_reader import FORMATS, ImageReadError, decode_image, read_image
from mlic.names import counted, reason_of

from .image_sources import collect_images

PILLOW = Lock()  # a file's image is read when it is first used: not by two threads at once

PATH = str | os.PathLike
BYTES = bytes | bytearray | memoryview
ImageInput = PATH | BYTES | Image.Image | np.ndarray


def list_inputs(
    inputs: ImageInput | Iterable[ImageInput],
) -> tuple[Iterable[ImageInput], bool, bool]:
    """The images, whether a single one was given, and whether the next one may change the last.

    The path of a folder, and a pattern such as ``photos/*.jpg``, stand for the images of
    :func:`collect_images`; any other iterable is returned as it is, so that it can be streamed.

    Raises:
        FileNotFoundError: If a folder or a pattern holds no image.
        TypeError: If it is neither an image nor an iterable.
    """
    if isinstance(inputs, PATH):
        text = os.fsdecode(inputs)
        is_pattern = glob.has_magic(text) and '://' not in text and not os.path.exists(text)
        if os.path.isdir(text) or is_pattern:
            images, num_others = collect_images([text])
            if num_others:
                left_out = counted(num_others, 'file')
                print_log(f'{text}: {left_out} left out (not images)', 'current')
            return images, False, False
    elif not isinstance(inputs, ImageInput):
        # a dict would give its keys, a tensor its rows
        others = isinstance(inputs, (Mapping, Tensor)) or hasattr(inputs, 'read')
        if others or not isinstance(inputs, Iterable):
            raise TypeError(
                'an image is a path, an address, bytes, a Pillow image or an array; got '
                f'{type(inputs).__name__}'
            )
        return inputs, False, not isinstance(inputs, (list, tuple))  # as frames of a GIF do
    return [inputs], True, False


def to_pixels(source: ImageInput, name: str, reduce_to: int | None = None) -> np.ndarray:
    """An image that is not a file, as :func:`read_image` reads one: BGR, uint8, (H, W, 3).

    Args:
        source (ImageInput): Bytes of a file; a Pillow image that is not decoded yet, which stands
            for its file; another one, at its own size and turned upright; an array (H, W),
            (H, W, 1), (H, W, 3), BGR, or (H, W, 4), BGR and alpha, uint8 or uint16. 16 bits become
            the upper 8, and an alpha channel is dropped.
        name (str): For messages.
        reduce_to (int, optional): See :func:`read_image`. Defaults to None.

    Raises:
        ImageReadError: If it is something else; one line.
    """
    if isinstance(source, ImageFile.ImageFile):
        source = _undecoded_file(source) or source
    if isinstance(source, BYTES):
        return decode_image(bytes(source), reduce_to, name)
    if isinstance(source, Image.Image):
        with PILLOW:
            image = ImageOps.exif_transpose(source)
        if image.mode in ('I', 'F'):
            raise ImageReadError(f'{name}: a Pillow image of 32 bits a pixel, expected 8 or 16')
        if not image.mode.startswith('I;16'):
            return np.array(image.convert('RGB'))[..., ::-1].copy()
        source = np.asarray(image)
    if not isinstance(source, np.ndarray):
        raise ImageReadError(
            f'{name}: a {type(source).__name__}, expected a path, an address, bytes, a Pillow '
            'image or an array'
        )
    image = source[..., None] if source.ndim == 2 else source
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise ImageReadError(f'{name}: an array must be (H, W, 3), BGR, got {source.shape}')
    if image.dtype.kind != 'u' or image.dtype.itemsize > 2:
        raise ImageReadError(f'{name}: an array must be uint8 or uint16, got {source.dtype}')
    image = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    return np.array(np.broadcast_to(image[..., :3], (*image.shape[:2], 3)), order='C')  # a copy


def _undecoded_file(image: ImageFile.ImageFile) -> bytes | None:
    """The file of a Pillow image of which nothing is decoded, changed or chosen yet, else None."""
    with PILLOW:
        is_as_opened = image.tile and image.fp and not image.tell() and not image.decoderconfig
        if not is_as_opened or image.format not in (*FORMATS, 'MPO'):  # MPO: several JPEGs
            return None
        position = image.fp.tell()
        image.fp.seek(0)
        content = image.fp.read()
        image.fp.seek(position)
    return content


class InputPipeline(Compose):
    """The transforms of a test pipeline, on a file or on an image instead of loading it."""

    def take(self, name: str, source: ImageInput) -> PATH | bytes | np.ndarray | ImageReadError:
        """What :meth:`read` takes for an image whose memory may change: files stay unread."""
        if isinstance(source, PATH | bytes):
            return source
        try:
            if isinstance(source, BYTES):
                return bytes(source)
            is_file = isinstance(source, ImageFile.ImageFile)
            content = _undecoded_file(source) if is_file else None  # which threads decode
            return content or to_pixels(source, name, self._reduce_to())
        except ImageReadError as error:
            return error
        except Exception as error:
            return as_its_own(name, error)

    def read(self, name: str, source: ImageInput | ImageReadError) -> dict | ImageReadError:
        """What the transforms yield, or the error that says why the image cannot be read."""
        if isinstance(source, ImageReadError):
            return source
        is_file = isinstance(source, PATH)
        source = os.fsdecode(source) if is_file else source
        try:
            item = self(dict(img_path=source)) if is_file else self._transform(name, source)
            shapes(item['inputs']), item['data_samples']  # an error if they are not there
            return item
        except ImageReadError as error:
            return error
        except Exception as error:
            if is_file:
                try:  # mmcv's loader fails in many ways, and this one says what it is
                    read_image(source)
                except ImageReadError as fault:
                    return fault
            return as_its_own(name, error)

    def _transform(self, name: str, source: ImageInput) -> dict:
        image = to_pixels(source, name, self._reduce_to())
        results = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        for transform in self.transforms:
            if not _loads(transform):
                results = transform(results)
        return results

    def _reduce_to(self) -> int | None:
        loaders = (transform for transform in self.transforms if _loads(transform))
        return getattr(next(loaders, None), 'reduce_to', None)

    def read_ahead(
        self, inputs: Iterable[tuple], threads: int, ahead: int, changing: bool, keep: bool
    ) -> Iterator[tuple[tuple, dict | ImageReadError]]:
        """Each of (name, source, ...), and what :meth:`read` makes of it, in their order.

        Args:
            inputs (Iterable[tuple]): Taken in this thread.
            threads (int): That read; 0 for none. The libraries that decode and resize let others
                compute meanwhile, and an image need not travel between processes.
            ahead (int): How many are read before they are asked for.
            changing (bool): Whether the next image may change the last one: what is no file is
                then copied before.
            keep (bool): Whether such a copy is returned as the source, to be drawn.
        """
        images = ((one, self.take(*one[:2]) if changing else one[1]) for one in inputs)
        if keep:
            images = (((name, image, *rest), image) for (name, _, *rest), image in images)
        if not threads:
            yield from ((one, self.read(one[0], image)) for one, image in images)
            return
        waiting: deque = deque()
        with ThreadPool(threads) as pool:  # whose end does not wait for a server
            for one, image in images:
                waiting.append((one, pool.apply_async(self.read, (one[0], image))))
                if len(waiting) > ahead:
                    first, item = waiting.popleft()
                    yield first, item.get()
            for first, item in waiting:
                yield first, item.get()


def input_pipeline(cfg: Config, tta: TTA) -> InputPipeline:
    """The config's test pipeline, with the views of the augmentation."""
    transforms = tta.pipeline(pipeline_of(cfg))
    if not any(transform['type'] in LOADERS for transform in transforms):
        # a data set that makes its images
        transforms = [dict(type='LoadImageStrict'), *transforms]
    return InputPipeline([TRANSFORMS.build(transform) for transform in transforms])


def shapes(inputs: Tensor | Sequence[Tensor]) -> tuple:
    """The shape of an image, or those of its views: what has the same one makes a batch."""
    is_one = isinstance(inputs, Tensor)
    return tuple(inputs.shape) if is_one else tuple(tuple(view.shape) for view in inputs)


def _loads(transform: object) -> bool:
    return type(transform).__name__ in LOADERS


def as_its_own(name: str, error: Exception) -> ImageReadError:
    """What went wrong with an image, whatever it was, as one line with its name."""
    text = reason_of(error)
    fault = ImageReadError(f'{name}: not predicted ({type(error).__name__}: {text})')
    fault.__cause__ = error
    return fault


def input_name(source: ImageInput, index: int | None) -> str:
    """What an image is called: its path or address, else its place."""
    if isinstance(source, PATH):
        return os.fsdecode(source)
    return 'the image' if index is None else f'image {index} (from 0)'


def picture_name(source: str) -> str:
    """A name for a picture of an image, without extension, that every file system takes."""
    return re.sub(r'[^\w .,()+-]', '_', Path(source).stem)[:60]  # 240 bytes: an address may be long
