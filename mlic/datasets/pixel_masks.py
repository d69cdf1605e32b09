"""Which pixels of an image belong to a class, from files. H x W pixels, C classes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mlic.files import read_bytes, read_json, read_lines
from mlic.image_reader import MAX_PIXELS, decode_image
from mlic.names import printable, reason_of, repeated, short

VOID = 255  # Pascal VOC's edges of objects
FARTHEST = 2**31  # of a polygon's corner: what is more is no pixel
PAIRS = 1_000_000  # of an edge and a row, at a time: 100 MB


class Masks(NamedTuple):
    """The masks of one image.

    Args:
        known (np.ndarray): (H, W) bool; the rest belongs to no class and to no background.
        of (dict[int, np.ndarray]): (H, W) bool of each class that has pixels, by its index.
    """

    known: np.ndarray
    of: dict


class IndexMasks:
    """A folder with a PNG for each image, ``NAME.png`` for ``NAME.jpg``: the index of every pixel.

    Args:
        folder (str | Path): Of grey or palette images of 8 bits.
        classes (Sequence[str]): C names, of the model.
        names (str | Path, optional): What the indices 0, 1, … are called: a JSON list, or a text
            with a name a line. Names that are no class are other pixels. Defaults to None, Pascal
            VOC's form: 0 is the background, 1 the first class. 255 is never a class but unknown.

    Raises:
        FileNotFoundError: If the folder or file is missing.
        ValueError: If the names are no list of different texts, or none is a class.
    """

    def __init__(
        self, folder: str | Path, classes: Sequence[str], names: str | Path | None = None
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f'{folder}: no folder of masks')
        self.names = [None, *classes] if names is None else read_names(names)
        places = {name: index for index, name in enumerate(classes)}
        self.class_of = {
            index: places[name] for index, name in enumerate(self.names) if name in places
        }
        if not self.class_of:
            raise ValueError(f'{names}: none of {len(self.names)} names is a class of the model')

    def read(self, img_path: str | Path) -> Masks | None:
        """The masks of an image; None if it has no file here.

        Raises:
            ValueError: If the file is no whole image of indices, or has one without a name.
        """
        path = self.folder / f'{Path(img_path).stem}.png'
        if not path.exists():
            return None
        content = read_bytes(path)
        decode_image(content, name=str(path))  # is it whole, and not too large?
        try:
            image = Image.open(io.BytesIO(content))
            indices = np.array(image)
        except Exception as error:  # Pillow raises a dozen kinds
            reason = reason_of(error)
            raise ValueError(f'{path}: cannot be decoded ({reason})') from error
        if image.format != 'PNG':
            raise ValueError(f'{path}: a {image.format} file, not a PNG: its indices may be others')
        if image.mode not in ('L', 'P'):
            raise ValueError(f'{path}: pixels of mode {image.mode}, not indices of 8 bits')
        present = np.unique(indices).tolist()
        nameless = [index for index in present if index >= len(self.names) and index != VOID]
        if nameless:
            raise ValueError(
                f'{path}: pixels with index {nameless[0]}, there are {len(self.names)} names'
            )
        of = {self.class_of[i]: indices == i for i in present if i in self.class_of and i != VOID}
        return Masks(indices != VOID, of)


class COCOMasks:
    """The polygons and run lengths of a file in COCO's form.

    All annotations of a class in an image are one mask, crowds included. A polygon's pixels are
    those whose centre is inside, which may differ from pycocotools' at the edge. Compressed run
    lengths (a text) are refused.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is not of this form, or none of its categories is a class.
    """

    def __init__(self, ann_file: str | Path, classes: Sequence[str]) -> None:
        self.ann_file = ann_file
        content = read_json(ann_file)
        places = {name: index for index, name in enumerate(classes)}
        try:
            for part in ('categories', 'images'):
                for twice in repeated(item['id'] for item in content[part]):
                    raise ValueError(f'the id {short(twice)} occurs more than once in its {part}')
            class_of = {item['id']: places.get(item['name']) for item in content['categories']}
            self.images = {}  # of a file's name: id, and its size (H, W)
            for item in content['images']:
                name = item['file_name'].replace('\\', '/').rpartition('/')[2]
                if name in self.images:
                    raise ValueError(f'two images are called {printable(name)}')
                size = item['height'], item['width']
                if not all(type(side) is int and side > 0 for side in size):
                    raise ValueError(f'{printable(name)} has the size {short(size)}')
                self.images[name] = item['id'], size
            # of an image's id: class and segmentation of each annotation
            self.parts = {image_id: [] for image_id, _ in self.images.values()}
            for item in content['annotations']:
                part = class_of[item['category_id']], item['segmentation']
                self.parts[item['image_id']].append(part)
        except KeyError as error:
            reason = f'{short(error.args[0])} is missing, a key or an id'
        except (AttributeError, TypeError) as error:
            reason = reason_of(error)
        except ValueError as error:
            reason = str(error)
        else:
            reason = None
        if reason:
            raise ValueError(f"{ann_file}: not a file of COCO's form with masks ({reason})")
        if set(class_of.values()) <= {None}:
            raise ValueError(f'{ann_file}: none of its categories is a class of the model')

    def read(self, img_path: str | Path) -> Masks | None:
        """As :meth:`IndexMasks.read`."""
        if Path(img_path).name not in self.images:
            return None
        image_id, size = self.images[Path(img_path).name]
        of = {}
        try:
            if size[0] * size[1] > MAX_PIXELS:
                raise ValueError(f'{size[0]} x {size[1]} pixels')
            for label, segmentation in self.parts[image_id]:
                if label is not None:
                    of[label] = of.get(label, False) | draw_segmentation(segmentation, size)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f'{self.ann_file}: image {short(image_id)} has a mask that cannot be drawn '
                f'({reason_of(error)})'
            ) from error
        return Masks(np.ones(size, bool), {label: mask for label, mask in of.items() if mask.any()})


def draw_segmentation(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of COCO's ``segmentation``: polygons x, y, x, y, …, or run lengths.

    Raises:
        KeyError, TypeError, ValueError: If it is none of these, or of another size.
    """
    height, width = size
    if isinstance(segmentation, dict):
        counts = segmentation['counts']
        if not isinstance(counts, list):
            raise ValueError('compressed run lengths; decode them to lists of counts first')
        if segmentation['size'] != [height, width] or sum(counts) != height * width:
            raise ValueError(f'run lengths of another size than {height} x {width}')
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return runs.reshape(width, height).T  # column by column
    if not segmentation:
        raise ValueError('no polygon')
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        corners = np.asarray(polygon, np.float64)
        is_list = corners.ndim == 1 and len(corners) >= 6 and len(corners) % 2 == 0
        if not is_list or not (np.abs(corners) < FARTHEST).all():
            raise ValueError(f'a polygon of {short(polygon)}')
        _fill(mask, corners.reshape(-1, 2))
    return mask


def _fill(mask: np.ndarray, corners: np.ndarray) -> None:
    """Add the pixels of a mask whose centre has an odd number of edges of a polygon on its left.

    Args:
        mask (np.ndarray): (H, W) bool, changed in place.
        corners (np.ndarray): (E, 2) of x and y.
    """
    # the pixels of its box
    first = np.floor(corners.min(axis=0)).clip(0, mask.shape[::-1]).astype(int)
    last = np.ceil(corners.max(axis=0)).clip(0, mask.shape[::-1]).astype(int)
    width, height = last - first
    corners = corners - first - 0.5  # x and y of centres are whole numbers now
    crossed = np.zeros((height, width + 1), bool)  # [y, x]: an odd number of edges between x - 1, x
    part = max(1, PAIRS // max(height, 1))
    for start in range(0, len(corners), part):
        ends = corners[np.arange(start, min(start + part, len(corners)) + 1) % len(corners)]
        low, high = (find(ends[:-1, 1], ends[1:, 1]) for find in (np.minimum, np.maximum))
        top, bottom = (np.ceil(y).clip(0, height).astype(int) for y in (low, high))
        edges = np.repeat(np.arange(len(low)), bottom - top)
        rows = np.arange(len(edges)) - np.repeat(np.cumsum(bottom - top) - bottom, bottom - top)
        (x, y), (x_end, y_end) = ends[edges].T, ends[edges + 1].T
        columns = np.ceil(x + (rows - y) / (y_end - y) * (x_end - x)).clip(0, width).astype(int)
        np.logical_xor.at(crossed, (rows, columns), True)
    inside = np.logical_xor.accumulate(crossed, axis=1)[:, :width]
    mask[first[1] : last[1], first[0] : last[0]] |= inside


def read_names(path: str | Path) -> list[str]:
    """Names from a JSON list, or from the lines of a text.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If it holds no list of different texts.
    """
    is_json = Path(path).suffix == '.json'
    names = read_json(path) if is_json else [line for line in read_lines(path) if line]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise ValueError(f'{path}: not a list of names, such as ["background", "cat"]')
    for name in repeated(names):
        raise ValueError(f'{path}: {printable(name)} is there twice')
    return names
