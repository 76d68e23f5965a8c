"""What is said of a set of images."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from harness.datasets.stats import stats
from tests.datasets.sets import encoded, official, some_images, write_zip


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_levels_classes_and_duplicates(batch):
    images = some_images(8)
    images[6], images[7] = images[0], images[0]
    images[3, :, 0, 0] += 1
    found = stats(of_array("x", images, np.array([0, 0, 3, 1, 1, 1, 0, 3])), batch)
    assert (found.images, found.shape, found.duplicates) == (8, (3, 5, 7), 2)
    assert found.classes.tolist() == [3, 3, 0, 2]
    values = images.astype(np.float64)
    assert np.allclose(found.mean, values.mean((0, 2, 3))) and np.allclose(found.std, values.std((0, 2, 3)))
    unit = values / 127.5 - 1
    assert np.allclose(found.unit_mean, unit.mean((0, 2, 3))) and np.allclose(found.unit_std, unit.std((0, 2, 3)))
    assert found.sigma_data == pytest.approx(unit.std(), rel=1e-12)
    assert found.digest == of_array("x", images).digest() and found.skipped == []


def test_flat_images_and_no_labels():
    found = stats(of_array("x", np.full((3, 1, 2, 2), 255, np.uint8)))
    assert found.classes is None and found.duplicates == 2
    assert (found.mean.tolist(), found.std.tolist(), found.unit_mean.tolist()) == ([255], [0], [1])


def test_the_digits():
    found = stats(open_images("digits"))
    assert found.images == 1797 and found.classes.sum() == 1797 and found.duplicates == 0


def test_skipped_and_damaged(tmp_path):
    members = official(some_images(3, height=64, width=64))
    members["00000/img00000001.png"] = encoded(some_images(1, height=64, width=64)[0])[:9000]
    path = write_zip(tmp_path / "a.zip", members)
    found = stats(open_images(path, skip_bad=True))
    assert found.images == 2 and len(found.skipped) == 1 and "img00000001.png" in found.skipped[0]
    with pytest.raises(InputError, match=r"img00000001\.png"):
        stats(open_images(path))
