"""Files of predictions: all that metrics need, without pickled objects. N images, C classes."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mlic.files import check_regular, write_arrays
from mlic.names import counted, repeated, short

from .matrices import Block, as_scores, binary, check_finite

KEYS = ('pred', 'target', 'ignore', 'unknown', 'classes')
HOW = "make one with np.savez('theirs.npz', pred=..., target=...)"
# scores are not compressed to a hundredth; a file of zeros would be, and fill the memory
SMALL, MAX_RATIO = 2**30, 100  # bytes that are never refused; times the bytes of the file


def save_predictions(out_file: str, block: Block, names: list, tta: str = '') -> None:
    """Write an ``.npz`` file: ``pred``, ``target``, ``ignore``, ``classes``, perhaps ``unknown``.

    ``pred`` (N, C) are the scores as the model gave them, ``target`` (N, C) uint8 the truth,
    ``ignore`` (N, C) bool the difficult entries (0 in ``target``), ``classes`` (C,) the names;
    ``unknown`` (N, C) bool the entries that nobody annotated (0 in ``target``), if there are any;
    ``tta`` the test-time augmentation, such as 'flip', if there was one.
    """
    pred, target, difficult, unknown = block
    arrays = dict(
        pred=pred,
        target=target.astype(np.uint8),
        ignore=np.zeros_like(target) if difficult is None else difficult,
        classes=np.array(names, dtype=np.str_),
    )
    if unknown is not None and unknown.any():
        arrays['unknown'] = unknown
    if tta:
        arrays['tta'] = np.array(tta)
    write_arrays(out_file, **arrays)
    print_log(f'scores of {counted(len(pred), "image")} written to {out_file}', 'current')


def read_predictions(path: str | Path) -> tuple[Block, list]:
    """A block and its class names from an ``.npz`` file; nothing in the file is executed.

    Args:
        path (str | Path): File of :func:`save_predictions`, or of another program: ``ignore``,
            ``unknown`` and ``classes`` may be missing (then nothing is ignored, and the names are
            indices). Scores are from 0 to 1: logits and percent are refused; whole numbers and
            16-bit floats become wider floats.

    Raises:
        OSError: The file cannot be opened.
        ValueError: What is missing or wrong in the file, with its name.
    """
    check_regular(path)
    try:
        return _check(_read_arrays(path))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def read_tta(path: str | Path) -> str:
    """The test-time augmentation of a prediction file, '' without one.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not an ``.npz`` file, or its ``tta`` is not text.
    """
    check_regular(path)
    try:
        tta = _read_arrays(path, ('tta',)).get('tta', np.array(''))
        if tta.dtype.kind != 'U' or tta.shape:
            raise ValueError(f'tta must be one text, got {tta.dtype} of shape {tta.shape}')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    return str(tta)


def _read_arrays(path: str | Path, keys: tuple[str, ...] = KEYS) -> dict:
    """The arrays of an ``.npz`` file that have a meaning here."""
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [key for key in keys if f'{key}.npy' in archive.namelist()]
            size = sum(archive.getinfo(f'{key}.npy').file_size for key in wanted)
            if size > max(SMALL, MAX_RATIO * os.path.getsize(path)):
                raise ValueError(f'its arrays would have {size} bytes')
            return {key: _read_array(archive, f'{key}.npy') for key in wanted}
    except zipfile.BadZipFile as error:
        raise ValueError(f'is not an .npz file (or only a part of one): {HOW}') from error
    except Exception as error:  # zip, zlib and numpy raise a dozen kinds for a damaged file
        reason = str(error).split('\n')[0] or type(error).__name__
        raise ValueError(f'cannot be read as an .npz file: {reason}') from error


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of plain values."""
    try:
        with archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        if 'allow_pickle' not in str(error):
            raise
        raise ValueError(  # as names are that pandas gives
            f'{name} holds Python objects: save names as numpy.array(names, dtype=str)'
        ) from error


def _check(arrays: dict) -> tuple[Block, list]:
    """The block and the names of arrays that fit together."""
    for key in ('pred', 'target'):
        if key not in arrays:
            raise ValueError(f'has no array {key!r}: {HOW}')
    pred, target = arrays['pred'], arrays['target']
    ignore, unknown = (
        arrays.get(key, np.zeros(target.shape, dtype=bool)) for key in ('ignore', 'unknown')
    )
    wanted = dict(pred=('fiu', 'numbers'), target=('biuf', '0 and 1'))
    wanted.update(dict.fromkeys(('ignore', 'unknown'), ('b', 'booleans')))
    for (key, (kinds, name)), array in zip(wanted.items(), (pred, target, ignore, unknown)):
        if array.dtype.kind not in kinds:
            raise ValueError(f'{key} must hold {name}, not {array.dtype}')
        if array.shape != pred.shape:
            raise ValueError(f'pred is {pred.shape}, {key} is {array.shape}')
    if pred.ndim != 2 or not pred.size:
        raise ValueError(f'pred must be (N, C) with N and C at least 1, got {pred.shape}')
    names = arrays.get('classes', np.arange(pred.shape[1]).astype(np.str_))
    if names.dtype.kind != 'U' or names.shape != pred.shape[1:]:
        raise ValueError(
            f'classes must hold {pred.shape[1]} names, got {names.dtype} of shape {names.shape}'
        )
    twice = repeated(names.tolist())
    if twice:
        raise ValueError(f'classes has the name {short(twice[0])} more than once')
    pred = as_scores(pred)
    check_finite(pred, names)
    if pred.min() < 0 or pred.max() > 1:
        raise ValueError(
            f'pred must hold scores from 0 to 1, got {pred.min():g} to {pred.max():g} '
            '(take the sigmoid of logits, a hundredth of percent)'
        )
    target = binary(np.where(ignore | unknown, 0, target))
    marks = (mark if mark.any() else None for mark in (ignore & ~unknown, unknown))
    return Block(pred, target, *marks), names.tolist()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        for part in iter(lambda: file.read(1 << 20), b''):
            digest.update(part)
    return digest.hexdigest()
