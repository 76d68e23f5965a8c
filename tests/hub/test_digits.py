"""The digits are scikit-learn's, whether its file is read where it lies or it is asked."""

import numpy as np
import pytest

from harness.hub import digits


@pytest.fixture(scope="module")
def theirs():
    from sklearn import datasets

    return datasets.load_digits()


@pytest.mark.parametrize("place", ["its file", "asked"])
def test_they_are_those_of_scikit_learn(theirs, place, monkeypatch):
    if place == "asked":
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    counts, classes = digits.read_digits()
    assert counts.shape == (1797, 8, 8)
    assert np.array_equal(counts, theirs.images)
    assert np.array_equal(classes, theirs.target)
    images, labels = digits.load_digits()
    assert images.shape == (1797, 1, 8, 8)
    assert np.array_equal(images[:, 0].numpy() * 8 + 8, theirs.images)
    assert np.array_equal(labels.numpy(), theirs.target)


def test_the_file_is_read_without_scikit_learn(monkeypatch):
    """The two seconds that importing it takes are what reading the file is for."""
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    digits.read_digits()
    assert "sklearn" not in sys.modules
