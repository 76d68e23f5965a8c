"""Folders and zip files of images: names, classes, and everything that is refused."""

import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.core.errors import InputError
from harness.datasets.open import open_images
from tests.datasets.sets import encoded, official, picture, some_images, write_folder, write_zip

IMAGES = some_images(6)
LABELS = np.array([2, 0, 1, 1, 0, 5])
PNG = encoded(IMAGES[0])


def pixels(found):
    return np.concatenate(list(found.batches(4)))


@pytest.mark.parametrize("deflated", [False, True])
def test_the_official_layout(tmp_path, deflated):
    found = open_images(write_zip(tmp_path / "a.zip", official(IMAGES, LABELS), deflated))
    assert np.array_equal(pixels(found), IMAGES) and found.labels.tolist() == LABELS.tolist()
    assert (found.name, found.label_dim) == ("a.zip", 6)
    assert open_images(write_zip(tmp_path / "b.zip", official(IMAGES))).labels is None


@given(
    images=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    ),
    data=st.data(),
)
def test_any_bytes_go_through_a_zip_file(tmp_path_factory, images, data):
    labels = data.draw(st.none() | arrays.arrays(np.int64, len(images), elements=st.integers(0, 1000)))
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    found = open_images(write_zip(path, official(images, labels), data.draw(st.booleans())))
    assert np.array_equal(pixels(found), images)
    assert found.labels is None if labels is None else np.array_equal(found.labels, labels)


def test_names_are_sorted_and_others_files_are_not_looked_at(tmp_path):
    members = {"b.png": encoded(IMAGES[1]), "a/z.PNG": encoded(IMAGES[0]), "c.jpeg": encoded(IMAGES[2])}
    more = {"README.txt": b"x", ".DS_Store": b"x", "._b.png": b"x", "__MACOSX/a/z.png": b"x", ".git/x.png": b"x"}
    for found in (
        open_images(write_zip(tmp_path / "a.zip", {**members, **more})),
        open_images(write_folder(tmp_path / "a", {**members, **more})),
    ):
        assert np.array_equal(pixels(found), IMAGES[:3]) and found.labels is None


def test_classes_are_folders_where_every_image_is_in_one(tmp_path):
    names = ["dog/x/1.png", "Cat/2.png", "cat/1.png", "ape/9.png"]
    members = dict.fromkeys(names, PNG)
    for source in (write_zip(tmp_path / "a.zip", members), write_folder(tmp_path / "a", members)):
        assert open_images(source).labels.tolist() == [0, 1, 2, 3]  # Cat, ape, cat, dog
    members["alone.png"] = PNG
    assert open_images(write_zip(tmp_path / "b.zip", members)).labels is None


def test_the_table_of_classes_wins_over_folders(tmp_path):
    table = {"labels": [["a\\1.png", 7], ["b/1.png", 0]]}
    members = {"a/1.png": PNG, "b/1.png": PNG, "dataset.json": json.dumps(table).encode()}
    for source in (write_zip(tmp_path / "a.zip", members), write_folder(tmp_path / "a", members)):
        assert open_images(source).labels.tolist() == [7, 0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "must be"),
        (b'{"labels": 3}', "must be"),
        (b'{"labels": [3]}', "is a pair .name, class.; we got 3"),
        (b'{"labels": [["a.png", [0, 1]], ["b.png", [1, 0]]]}', "'a.png' has the class a list of 2 values; only class"),
        (b'{"labels": [["a.png", 0.5], ["b.png", 1]]}', "'a.png' has the class 0.5; only class numbers"),
        (b'{"labels": [["a.png", "cat"], ["b.png", 1]]}', "'a.png' has the class 'cat', not a whole number"),
        (b'{"labels": [["a.png", true], ["b.png", 1]]}', "'a.png' has the class True"),
        (b'{"labels": [["a.png", 0]]}', "1 of 2 images have no class, the first is 'b.png'"),
        (b'{"labels": [["a.png", 0], ["b.png", 0], ["c.png", 1]]}', "1 classes are for images that are not there"),
        (b'{"labels": [["a.png", 0], ["a.png", 1], ["b.png", 1]]}', "'a.png' has two classes, 0 and 1"),
        (b'{"labels": [["a.png", -1], ["b.png", 0]]}', "we got -1 to 0"),
        (b'{"labels": [["a.png", 99999999999999999999999], ["b.png", 0]]}', "far too large"),
    ],
)
def test_tables_of_classes_that_are_refused(tmp_path, table, message):
    members = {"a.png": PNG, "b.png": PNG, "dataset.json": table}
    for source in (write_zip(tmp_path / "a.zip", members), write_folder(tmp_path / "a", members)):
        with pytest.raises(InputError, match=message):
            open_images(source)


def test_a_table_that_is_not_at_the_top(tmp_path):
    members = {f"cifar/{name}": content for name, content in official(IMAGES, LABELS).items()}
    for source in (write_zip(tmp_path / "a.zip", members), write_folder(tmp_path / "a", members)):
        with pytest.raises(InputError, match=r"'cifar/dataset.json' is not at the top"):
            open_images(source)
    assert open_images(tmp_path / "a" / "cifar").label_dim == 6


def test_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (
        tmp_path / "empty",
        write_zip(tmp_path / "a.zip", {}),
        write_zip(tmp_path / "b.zip", {"a.txt": b"x", "dataset.json": b"{}"}),
    ):
        with pytest.raises(InputError, match=r"no images in it; files that end in .bmp, .jpeg, .jpg, .png, .webp are"):
            open_images(source)


def test_pictures_that_are_not_read_are_not_left_out_in_silence(tmp_path):
    with pytest.raises(InputError, match=r"'b.gif' is a picture of a kind that is not read"):
        open_images(write_zip(tmp_path / "a.zip", {"a.png": PNG, "b.gif": b""}))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (some_images(1, height=6)[0], r"'m.png' is 6x7 RGB, and the first, 'a.png', is 5x7 RGB; .*--resolution"),
        (
            some_images(1, channels=1)[0],
            "'m.png' is 5x7 grey, and the first, 'a.png', is 5x7 RGB; .*convert.*--color rgb",
        ),
    ],
    ids=["size", "colour"],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_one_shape(tmp_path, other, message, skip_bad):
    members = {"a.png": PNG, "b.png": PNG, "m.png": encoded(other), "z.png": encoded(other)}
    with pytest.raises(InputError, match=message):
        open_images(write_zip(tmp_path / "a.zip", members), skip_bad)


def test_palettes_and_opaque_alpha_go_with_rgb(tmp_path):
    alpha = picture(IMAGES[1])
    alpha.putalpha(255)
    members = {"a.png": PNG, "b.png": encoded(picture(IMAGES[0]).quantize(9)), "c.png": encoded(alpha)}
    found = pixels(open_images(write_zip(tmp_path / "a.zip", members)))
    assert np.array_equal(found[[0, 2]], IMAGES[:2])


def broken():
    """Six images in folders of classes; the third has a damaged header, the fifth is cut off in its pixels."""
    large = some_images(6, height=64, width=64)
    members = {f"{'ab'[row % 2]}/{row}.png": encoded(image) for row, image in enumerate(large)}
    members["a/2.png"] = b"no image"
    members["a/4.png"] = members["a/4.png"][:8000]
    return large, members


def test_damaged_headers_are_named_and_counted_when_opened(tmp_path):
    members = {**broken()[1], "b/1.png": b""}
    with pytest.raises(InputError, match=r"'a/2.png' is not an image.*; 2 of 6 images cannot be used: .*--skip-bad"):
        open_images(write_folder(tmp_path / "a", members))


def test_damaged_pixels_are_named_when_read(tmp_path):
    large, members = broken()
    del members["a/2.png"]
    for source in (write_folder(tmp_path / "a", members), write_zip(tmp_path / "a.zip", members)):
        found = open_images(source)
        assert np.array_equal(found.read(np.array([0])), large[:1])
        with pytest.raises(
            InputError, match=r"image 'a/4.png' cannot be decoded .*; number 2 of 5 images: .*--skip-bad"
        ):
            list(found.batches())


def test_bad_images_are_left_out_with_their_labels(tmp_path):
    large, members = broken()
    for source in (write_folder(tmp_path / "a", members), write_zip(tmp_path / "a.zip", members)):
        found = open_images(source, skip_bad=True)
        assert len(found) == 4 and found.labels.tolist() == [0, 1, 1, 1]
        assert np.array_equal(pixels(found), large[[0, 1, 3, 5]])
        assert [("a/2.png" in found.skipped[0], "a/4.png" in found.skipped[1])] == [(True, True)]
        assert len(found.skipped) == 2 and "damaged" in found.skipped[1]


def test_nothing_left(tmp_path):
    with pytest.raises(
        InputError, match=r"'a.png' is not an image.*; 2 of 2 images cannot be used: mend or remove them"
    ):
        open_images(write_zip(tmp_path / "a.zip", {"a.png": b"", "b.png": b""}), skip_bad=True)


def test_long_headers_are_read_whole(tmp_path):
    content = encoded(IMAGES[0], "JPEG", exif=b"Exif\0\0" + b"x" * 30_000)
    for deflated in (False, True):
        assert open_images(write_zip(tmp_path / "a.zip", {"a.jpg": content}, deflated)).shape == (3, 5, 7)


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path):
    write_folder(tmp_path / "real", {"a/1.png": PNG})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "set" / "two").symlink_to(tmp_path / "real" / "a")
    assert open_images(tmp_path / "set").labels.tolist() == [0, 1]
    (tmp_path / "real" / "a" / "up").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="a link to one that it is in"):
        open_images(tmp_path / "real")


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/a.png", "\\a.png", "a\\..\\b.png", "C:/a.png"])
def test_names_that_leave_the_archive(tmp_path, name):
    with pytest.raises(InputError, match="has a name that leaves the archive"):
        open_images(write_zip(tmp_path / "a.zip", {"0.png": PNG, name: PNG}))


def test_links_in_an_archive(tmp_path):
    with pytest.raises(InputError, match=r"'a.png' is a symbolic link; refused"):
        open_images(write_zip(tmp_path / "a.zip", {"a.png": b"/etc/passwd"}, mode=0o120777))


def test_two_members_of_one_name(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"a.png"))
    with pytest.raises(InputError, match=r"two members have the name 'a.png'"):
        open_images(path)


def altered(path, at, change):
    """The archive with bytes of its first member's entry in the directory replaced."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + at : entry + at + len(change)] = change
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (8, b"\x01\x00", "is encrypted"),
        (10, b"\x0e\x00", "compressed in a way that is not read"),
        (20, struct.pack("<II", 500, 500), "overlaps another or the directory"),
        (20, struct.pack("<I", 3), "has two lengths"),
        (42, struct.pack("<I", 40), "overlaps another|is not where"),
    ],
)
def test_entries_that_lie(tmp_path, at, change, message):
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    with pytest.raises(InputError, match=message):
        list(open_images(altered(path, at, change)).batches())


def test_a_wrong_checksum_is_a_bad_image(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    altered(path, 16, b"\0\0\0\0")
    with pytest.raises(InputError, match=r"'a.png' cannot be read .Bad CRC-32"):
        list(open_images(path).batches())
    assert len(open_images(path, skip_bad=True)) == 1


def test_a_member_that_inflates_to_more_than_it_says(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": bytes(10_000_000)}, deflated=True)
    altered(path, 24, struct.pack("<I", 100))
    with pytest.raises(InputError, match="cannot be used"):
        open_images(path)
    path = write_zip(tmp_path / "b.zip", {"a.png": PNG}, deflated=True)
    altered(path, 24, struct.pack("<I", 1 << 30))
    with pytest.raises(InputError, match="claims 1,073,741,824 bytes, more than"):
        list(open_images(path).batches())


@pytest.mark.parametrize("length", [30, 300, -30])
def test_a_cut_archive(tmp_path, length):
    path = write_zip(tmp_path / "a.zip", official(IMAGES))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"truncated|not a whole zip file"):
        open_images(path)


@pytest.mark.parametrize(
    ("members", "size", "message"),
    [(1 << 40, 1 << 46, "claims 1,099,511,627,776 members"), (1, 1 << 31, "in a directory of 2,147,483,648 bytes")],
)
def test_an_archive_that_claims_too_many_members(tmp_path, members, size, message):
    end = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, members, members, size, 0)
    end += b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1) + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0"
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + end)
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "a.zip")


def test_the_names_of_members_reach_a_terminal_harmless(tmp_path):
    with pytest.raises(InputError) as caught:
        open_images(write_zip(tmp_path / "a.zip", {"\x1b[31m.png": b"", "b.png": PNG}))
    assert "\x1b" not in str(caught.value)


def test_folders_in_an_archive_are_no_members(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/", b"")
        archive.writestr("a/1.png", PNG)
    assert len(open_images(path)) == 1
