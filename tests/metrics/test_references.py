"""References: where they are, and what identifies them."""

import os
import shutil

import numpy as np
import pytest
import sqlalchemy as sa

from harness.core import embedded
from harness.core.errors import InputError
from harness.datasets.open import open_images
from harness.execution import reference as execution_reference
from harness.execution.reference import reference_of
from harness.metrics import FID, KID, Memorisation
from harness.metrics.features.configs import Inception, InceptionPT, Pixels
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import all_features, find_reference, is_same_reference, read_reference
from harness.store import tables
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


def written_folder(folder, seed=0, linked=None):
    """A folder of uncompressed images, all files of which have one size and one time of change of their contents."""
    images = some_images(6, 3, 4, 4, seed)
    write_folder(linked or folder, {f"{index}.bmp": encoded(image, "BMP") for index, image in enumerate(images)})
    for path in (linked or folder).iterdir():
        os.utime(path, ns=(10**18, 10**18))
    if linked and not folder.exists():
        folder.mkdir()
        (folder / "inner").symlink_to(linked, target_is_directory=True)
    return str(folder)


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_replaced_folder_is_another_reference_whatever_its_names_sizes_and_times(tmp_path, is_linked):
    linked = tmp_path / "elsewhere" if is_linked else None
    folder = written_folder(tmp_path / "folder", 0, linked)
    metric = FID(extractor=PIXELS, reference=folder)
    with Store(str(tmp_path / "s.sqlite")) as store:
        first = reference_of(metric, 4, store)
        assert reference_of(metric, 4, store).id == first.id
        shutil.rmtree(linked or folder)
        second = reference_of(FID(extractor=PIXELS, reference=written_folder(tmp_path / "folder", 1, linked)), 4, store)
        assert second.id != first.id
        assert not np.array_equal(second.reference.statistics.mu, first.reference.statistics.mu)


def test_a_folder_is_hashed_again_only_where_its_files_may_have_changed(tmp_path, monkeypatch):
    folder = written_folder(tmp_path / "folder")
    hashed = []
    digest = execution_reference.folder_digest
    monkeypatch.setattr(execution_reference, "folder_digest", lambda path: hashed.append(path) or digest(path))
    monkeypatch.setattr(embedded, "SETTLED", 10**15)  # nothing that was just written counts as settled
    with Store(str(tmp_path / "s.sqlite")) as store:
        for _ in range(2):
            before = len(hashed)
            reference_of(FID(extractor=PIXELS, reference=folder), 4, store)
            assert len(hashed) > before
        monkeypatch.setattr(embedded, "SETTLED", 0)
        reference_of(FID(extractor=PIXELS, reference=folder), 4, store)
        before = len(hashed)
        reference_of(FID(extractor=PIXELS, reference=folder), 4, store)
        (tmp_path / "folder" / ".DS_Store").write_bytes(b"not an image")
        reference_of(FID(extractor=PIXELS, reference=folder), 4, store)
        assert len(hashed) == before


def test_a_moved_folder_is_the_same_reference(tmp_path, monkeypatch):
    folder = written_folder(tmp_path / "folder")
    with Store(str(tmp_path / "s.sqlite")) as store:
        first = reference_of(FID(extractor=PIXELS, reference=folder), 4, store)
        (tmp_path / "folder").rename(tmp_path / "other")
        monkeypatch.setattr(execution_reference, "read_reference", None)  # nothing is computed again
        assert reference_of(FID(extractor=PIXELS, reference=str(tmp_path / "other")), 4, store).id == first.id


def test_training_images_that_are_replaced_within_a_process_are_read_again(tmp_path):
    metric = Memorisation(reference=str(tmp_path / "real.npy"))
    images = some_images(6, 3, 4, 4), some_images(6, 3, 4, 4, seed=1)
    with Store(str(tmp_path / "s.sqlite")) as store:
        for one in images:
            np.save(tmp_path / "real.npy", one)
            os.utime(tmp_path / "real.npy", ns=(10**18, 10**18))
            training = reference_of(metric, 4, store).reference.training()
            assert np.allclose(training, one.reshape(6, -1) / 255)


def test_verify_writes_nothing(tmp_path):
    folder = written_folder(tmp_path / "folder")
    with Store(str(tmp_path / "s.sqlite")) as store:
        reference_of(FID(extractor=PIXELS, reference=folder), 4, store, keep=False)
        assert store.rows(sa.select(tables.facts.c.key)) == []


def test_what_comes_with_the_package_is_known_by_its_images():
    for name in ("digits", "digits-mixture"):
        place = find_reference(name, PIXELS)
        assert place.key == f"{name}:{open_images(name).digest()}"


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
    assert read_reference(place, PIXELS).id == f"plain:{place.key[:12]}/?/?"
    Statistics(plain.mu, plain.sigma, 9, None, "another", "d", "1" * 64).write(tmp_path / "told.npz")
    with pytest.raises(InputError, match="made with extractor 'another', and this metric uses 'raw:1:mean'"):
        read_reference(find_reference(str(tmp_path / "told.npz"), PIXELS), PIXELS)
    with pytest.raises(InputError, match="needs the images themselves"):
        all_features(str(tmp_path / "plain.npz"), PIXELS)


def test_statistics_of_a_batch_of_adm_go_with_inception_alone(tmp_path):
    path = tmp_path / "adm.npz"
    np.savez(path, arr_0=some_images(6, 3, 4, 4), mu=np.zeros(3), sigma=np.eye(3))
    for extractor, single_images, is_statistics in [
        (Inception(), False, True),
        (Inception(), True, False),
        (InceptionPT(), False, False),
        (Inception(path="own.pt", sha256="0" * 64), False, False),
        (PIXELS, False, False),
    ]:
        place = find_reference(str(path), extractor, single_images)
        assert (place.path is not None) == is_statistics
        assert (place.data is not None) == (not is_statistics)
    own = Inception(path="own.pt", sha256="0" * 64)
    with pytest.raises(InputError, match="holds features of 'inception-2015-12-05', not of extractor 'inception'"):
        find_reference("fid-cifar10-32x32", own)


def test_rows_of_earlier_versions_that_filled_in_the_extractor_are_recognised():
    assert is_same_reference("a:1/?/?", "a:1/?/raw:1:mean", "raw:1:mean")
    assert is_same_reference("KID | a:1/?/?", "KID | a:1/?/raw:1:mean", "raw:1:mean")
    assert not is_same_reference("a:1/?/?", "a:2/?/raw:1:mean", "raw:1:mean")
    assert not is_same_reference("a:1/9/raw:1:mean", "a:1/9/?", "raw:1:mean")


def test_a_single_image_is_no_reference(tmp_path):
    np.save(tmp_path / "one.npy", some_images(1, 3, 4, 4))
    with pytest.raises(InputError, match="needs at least 2 real images; it has 1"):
        read_reference(find_reference(str(tmp_path / "one.npy"), PIXELS), PIXELS)


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
