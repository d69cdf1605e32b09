"""Evaluation with a share of each image's labels known, as C-Tran's authors measure it.

Shapes in this module: B images, C classes.
"""

import hashlib
import random
from collections.abc import Mapping

import numpy as np

from mlic.models.given_labels import give_true_labels


def hidden_labels(image: np.ndarray, num_classes: int, num_known: int) -> list[int]:
    """The classes of an image that are not known, as drawn.

    Python's ``random``, seeded with the SHA-1 of the array's bytes, chooses them. The released code
    of C-Tran takes the normalised image, (3, H, W) float32.

    Args:
        image (np.ndarray): Of any shape. The same bytes give the same classes.
        num_classes (int): C.
        num_known (int): How many of them are known.
    """
    seed = hashlib.sha1(np.ascontiguousarray(image), usedforsecurity=False).hexdigest()
    return random.Random(seed).sample(range(num_classes), num_classes - num_known)


def give_share(data: Mapping, percent: float, num_classes: int) -> None:
    """Give each image of a batch this many of its true labels, which then count as unknown.

    Which ones follows from the pixels as the model gets them, before they are normalised: neither
    from the batch nor from the process. Of the drawn ones those that the data do not know are not
    given.

    Args:
        data (Mapping): ``inputs``, (B, 3, H, W) or B of (3, H, W), and ``data_samples``.
        percent (float): Of the C labels, rounded down. Of 29 and 58 % C-Tran's code, which rounds
            twice, may give one less.
        num_classes (int): C.
    """
    num_known = int(percent * num_classes // 100)
    for image, sample in zip(data['inputs'], data['data_samples']):
        give_true_labels(sample, num_classes, hidden_labels(image.numpy(), num_classes, num_known))
