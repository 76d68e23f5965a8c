"""References: where they are, and what identifies them."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.execution.reference import reference_of
from harness.metrics import FID, KID
from harness.metrics.features.configs import Inception, Pixels
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import all_features, find_reference, read_reference
from harness.store.database import Store
from tests.datasets.sets import cifar10, encoded, some_images, write_folder, write_tar, write_zip

PIXELS = Pixels(size=1)


def test_a_folder_a_zip_and_an_array_of_equal_images_have_one_digest(tmp_path):
    images = some_images(height=4, width=4)
    members = {f"{index}.png": encoded(image) for index, image in enumerate(images)}
    write_folder(tmp_path / "folder", members)
    write_zip(tmp_path / "packed.zip", members)
    np.savez(tmp_path / "array.npz", images=images)
    found = [
        read_reference(find_reference(str(tmp_path / name), PIXELS), PIXELS)
        for name in ("folder", "packed.zip", "array.npz")
    ]
    assert [one.id.split(":")[0] for one in found] == ["folder", "packed", "array"]
    assert len({one.id.split(":", 1)[1] for one in found}) == 1
    for one in found:
        assert np.array_equal(one.statistics.mu, found[0].statistics.mu)
        assert one.id.endswith("/6/raw:1:mean")


def test_the_parts_of_a_data_set_are_two_references(tmp_path):
    members = cifar10(some_images(12, 3, 32, 32), np.arange(12) % 10)
    write_tar(tmp_path / "cifar-10-python.tar.gz", members)
    write_folder(tmp_path / "cifar-10-batches-py", members)
    for name in ("cifar-10-python.tar.gz", "cifar-10-batches-py"):
        places = {part: find_reference(f"{tmp_path}/./{name}{part}", PIXELS) for part in ("", "#train", "#test")}
        assert len({place.key for place in places.values()}) == 3
        assert places["#test"].key.endswith("#test")
        with Store(str(tmp_path / f"{name}.sqlite")) as store:
            ids = [
                reference_of(FID(extractor=PIXELS, reference=place.source), 4, store).id for place in places.values()
            ]
        assert ids[0] == ids[1] != ids[2]


def test_a_changed_folder_is_looked_at_again(tmp_path):
    folder = tmp_path / "folder"
    write_folder(folder, {f"{index}.png": encoded(image) for index, image in enumerate(some_images())})
    before = find_reference(str(folder), PIXELS)
    assert before == find_reference(str(folder), PIXELS)
    (folder / "0.png").write_bytes(encoded(some_images(seed=1)[0]))
    assert find_reference(str(folder), PIXELS).key != before.key


def test_a_mark_in_a_file_name_is_no_part(tmp_path):
    path = tmp_path / "set#1.npy"
    np.save(path, some_images(6, 3, 4, 4))
    place = find_reference(str(path), PIXELS)
    assert read_reference(place, PIXELS).statistics.n == 6


def test_files_of_statistics(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9, 2))
    plain = Statistics(rows.mean(0), np.cov(rows.T))
    plain.write(tmp_path / "plain.npz")
    place = find_reference(str(tmp_path / "plain.npz"), PIXELS)
    assert place.path == tmp_path / "plain.npz"
    assert read_reference(place, PIXELS).id == f"plain:{place.key[:12]}/?/raw:1:mean"
    Statistics(plain.mu, plain.sigma, 9, None, "another", "d", "1" * 64).write(tmp_path / "told.npz")
    with pytest.raises(InputError, match="made with extractor 'another', and this metric uses 'raw:1:mean'"):
        read_reference(find_reference(str(tmp_path / "told.npz"), PIXELS), PIXELS)
    with pytest.raises(InputError, match="needs the images themselves"):
        all_features(str(tmp_path / "plain.npz"), PIXELS)


def test_what_a_metric_lacks_is_said_before_anything_is_sampled(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9, 2))
    Statistics(rows.mean(0), np.cov(rows.T)).write(tmp_path / "plain.npz")
    with (
        Store(str(tmp_path / "s.sqlite")) as store,
        pytest.raises(InputError, match=r"compares single images, and reference '.*' holds `mu` and `sigma` only"),
    ):
        reference_of(KID(extractor=PIXELS, reference=str(tmp_path / "plain.npz")), 4, store)


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file or folder, nor a card; there are: digits"):
        find_reference(str(tmp_path / "none.zip"), PIXELS)
    with pytest.raises(InputError, match="the card of that name is a"):
        find_reference("digits-vp", PIXELS)
    with pytest.raises(InputError, match="holds features of 'inception"):
        find_reference("fid-cifar10-32x32", PIXELS)
    with pytest.raises(InputError):  # it has to be fetched
        find_reference("fid-cifar10-32x32", Inception())
