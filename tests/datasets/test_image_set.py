"""What every set of images does, whatever it is kept in."""

import hashlib

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.image_set import ImageSet, of_array
from tests.datasets.sets import some_images

IMAGES = some_images(7)
LABELS = np.array([3, 0, 1, 1, 4, 0, 2])


def test_batches_are_in_order_and_the_last_is_what_is_left():
    found = of_array("seven", IMAGES, LABELS)
    batches = list(found.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), IMAGES)
    assert (len(found), found.shape, found.label_dim, found.skipped) == (7, (3, 5, 7), 5, [])
    assert found.labels.dtype == np.int64
    assert of_array("seven", IMAGES).label_dim == 0


def test_nothing_is_read_before_it_is_asked_for():
    asked = []

    def read(rows):
        asked.append(rows.tolist())
        return IMAGES[rows]

    found = ImageSet("lazy", (3, 5, 7), 7, read).take([6, 0, 1])
    assert asked == []
    next(found.batches(2))
    assert asked == [[6, 0]]


def test_take_keeps_order_labels_and_repeats():
    found = of_array("seven", IMAGES, LABELS)
    some = found.take([4, 4, 0])
    assert np.array_equal(next(some.batches(8)), IMAGES[[4, 4, 0]]) and some.labels.tolist() == [4, 4, 3]
    mask = found.take(LABELS == 1).take(np.array([1]))
    assert np.array_equal(next(mask.batches(1))[0], IMAGES[3]) and mask.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([7], r"has rows 0 to 6; we got \[7\]"),
        ([-1], r"has rows 0 to 6"),
        ([], "at least one"),
        ([0.5], "whole numbers"),
        (np.ones(3, bool), "a mask of shape"),
    ],
)
def test_rows_that_are_not_there(rows, message):
    with pytest.raises(InputError, match=message):
        of_array("seven", IMAGES).take(rows)


def test_digest_is_of_shape_bytes_and_order():
    digest = of_array("a", IMAGES).digest()
    assert digest == hashlib.sha256(b"3x5x7\n" + IMAGES.tobytes()).hexdigest()
    assert of_array("b", IMAGES.copy(), LABELS).digest() == digest
    assert of_array("a", IMAGES[::-1]).digest() != digest
    assert of_array("a", IMAGES.reshape(7, 3, 7, 5)).digest() != digest
    assert of_array("a", IMAGES).take(range(7)).digest() == digest


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:0], None, "no images"),
        (IMAGES.astype(np.float32), None, "we got float32"),
        (IMAGES[:, :2], None, "1 or 3 channels"),
        (IMAGES, LABELS[:3], "int64 .3. for 7 images"),
        (IMAGES, np.eye(7), "store the argmax of one-hot labels"),
        (IMAGES, LABELS * 0.5, "one whole number an image"),
        (IMAGES, LABELS - 1, "we got -1 to 3"),
        (IMAGES, LABELS + (1 << 20), "classes are numbers from 0 to"),
    ],
)
def test_what_is_no_set(images, labels, message):
    with pytest.raises(InputError, match=message):
        of_array("wrong", images, labels)


def test_a_batch_has_an_image():
    with pytest.raises(InputError, match="at least 1 image; we got 0"):
        next(of_array("seven", IMAGES).batches(0))
