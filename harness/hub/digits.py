"""Handwritten digits that come with scikit-learn: 1,797 grey images of 8x8 pixels in ten classes.

They are the test half of the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin and Kaynak 1998). A pixel
is a count of ink dots, 0 to 16, and becomes x/8 - 1 in [-1, 1].
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = 10
SHAPE = (1, 8, 8)
HOLD_OUT = 5
"""Every fifth image is held out when a classifier is trained."""


class Digits(NamedTuple):
    """Images [N, 1, 8, 8] float32 in [-1, 1] and their classes [N] int64, 0 to 9."""

    images: "Tensor"
    labels: "Tensor"

    def take(self, rows: "Tensor") -> "Digits":
        """Select rows by an index or a boolean mask."""
        return Digits(self.images[rows], self.labels[rows])


class Split(NamedTuple):
    """Training images and held-out images."""

    train: Digits
    test: Digits


def load_digits() -> Digits:
    """All 1,797 images, in the order of scikit-learn."""
    import torch

    counts, classes = read_digits()
    images = torch.from_numpy(counts.astype(np.float32) / 8 - 1)  # exact: sixteenths of two
    return Digits(images[:, None].contiguous(), torch.from_numpy(classes.astype(np.int64)))


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Counts of ink dots [1797, 8, 8] and classes [1797], as scikit-learn ships them.

    Its file is read where it lies, since importing scikit-learn takes two seconds, in every worker; where a version
    keeps it elsewhere, scikit-learn is asked.
    """
    package = find_spec("sklearn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if path is None or not path.is_file():
        from sklearn import datasets

        digits = datasets.load_digits()
        return digits.images, digits.target
    rows = np.loadtxt(path, delimiter=",", dtype=np.int64)  # 64 counts, then the class
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]


def split_digits() -> Split:
    """The fixed split for a classifier: rows 0, 5, 10, ... are held out (360), the other 1,437 are for training."""
    import torch

    digits = load_digits()
    held = torch.arange(len(digits.labels)) % HOLD_OUT == 0
    return Split(digits.take(~held), digits.take(held))
