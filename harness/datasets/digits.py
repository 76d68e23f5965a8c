"""The digits of scikit-learn, and draws of the mixture fitted to them, as bytes; `hub` has both as floats."""

import numpy as np

from harness.datasets.image_bytes import to_bytes
from harness.datasets.image_set import ImageSet, of_array
from harness.hub.digits import read_digits
from harness.hub.digits_mixture import digits_mixture

NAME = "digits"
MIXTURE = "digits-mixture"
DRAWS = 20_000
"""Images of the mixture."""


def digit_images() -> ImageSet:
    """All 1,797 images [1, 8, 8] with their ten classes, in the order of scikit-learn.

    A pixel counts k = 0 to 16 ink dots. Its byte is that of k/8 - 1, the value that networks see.
    """
    counts, classes = read_digits()
    floats = counts.astype(np.float32) / 8 - 1
    return of_array(NAME, to_bytes(floats)[:, None], classes.astype(np.int64))


def mixture_images() -> ImageSet:
    """20,000 draws [1, 8, 8] of the mixture, the same each time; values beyond [-1, 1] are clipped, as samples are."""
    return of_array(MIXTURE, to_bytes(digits_mixture().draw(DRAWS, seed=0)))
