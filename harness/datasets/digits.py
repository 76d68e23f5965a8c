"""The digits that come with scikit-learn, as bytes; `hub.digits` has them as floats."""

import numpy as np

from harness.datasets.image_bytes import to_bytes
from harness.datasets.image_set import ImageSet, of_array
from harness.hub.digits import read_digits

NAME = "digits"


def digit_images() -> ImageSet:
    """All 1,797 images [1, 8, 8] with their ten classes, in the order of scikit-learn.

    A pixel counts k = 0 to 16 ink dots. Its byte is that of k/8 - 1, the value that networks see.
    """
    counts, classes = read_digits()
    floats = counts.astype(np.float32) / 8 - 1
    return of_array(NAME, to_bytes(floats)[:, None], classes.astype(np.int64))
