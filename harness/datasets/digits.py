"""The digits that come with scikit-learn as a set of bytes, beside the floats of `digits`."""

import numpy as np

from harness.datasets.image_bytes import to_bytes
from harness.datasets.image_set import ImageSet, of_array

NAME = "digits"


def digit_images() -> ImageSet:
    """All 1,797 images [1, 8, 8] with their ten classes, in the order of the source.

    A pixel counts ink dots, k = 0 to 16; its byte is that of the float k/8 - 1 which networks see, so features of these
    bytes are those of the float images after `to_bytes`.
    """
    from sklearn import datasets

    found = datasets.load_digits()
    floats = found.images.astype(np.float32) / 8 - 1
    return of_array(NAME, to_bytes(floats)[:, None], found.target.astype(np.int64))
