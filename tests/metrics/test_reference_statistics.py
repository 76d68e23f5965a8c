"""Files of statistics: ours, official ones, and hostile ones, of which nothing is run and little is read."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.metrics.reference_statistics import EXACT_WIDTH, MAX_WIDTH, Statistics, read_statistics

FEATURES = np.random.default_rng(0).normal(size=(20, 3))
PLAIN = {"mu": FEATURES.mean(0), "sigma": np.cov(FEATURES.T)}
FULL = Statistics(**PLAIN, n=20, features=FEATURES.astype(np.float32), extractor="e", dataset="d", digest="0" * 64)


def written(path, **arrays):
    np.savez(path, **(PLAIN | arrays))
    return path


def header(shape, descr="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": descr})
    return buffer.getvalue()


def test_ours_and_an_official_one(tmp_path):
    FULL.write(tmp_path / "ours.npz")
    found = read_statistics(tmp_path / "ours.npz")
    assert (found.n, found.extractor, found.dataset, found.digest) == (20, "e", "d", "0" * 64)
    assert np.array_equal(found.features, FULL.features)
    assert found.has_all_features
    found = read_statistics(written(tmp_path / "official.npz", other=np.zeros(3)))
    assert np.array_equal(found.sigma, PLAIN["sigma"])
    assert (found.n, found.features, found.extractor) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mu": np.array([1, None, 2], dtype=object)}, "asks for pickle, which can run code; nothing was read"),
        ({"sigma": np.array([{}], dtype=object)}, "asks for pickle"),
        ({"mu": np.array([1.0, np.nan, 0])}, "not finite"),
        ({"sigma": np.full((3, 3), np.inf)}, "not finite"),
        ({"mu": np.zeros(2)}, r"do not go together; we got \[2\] and \[3, 3\]"),
        ({"mu": np.zeros((3, 1))}, "do not go together"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "do not go together"),
        ({"mu": np.zeros(3, complex)}, "mu should be numbers; we got complex128"),
        ({"mu": np.array(["a", "b", "c"])}, "mu should be numbers"),
        ({"sigma": np.arange(9.0).reshape(3, 3)}, "no covariance"),
        ({"sigma": -np.eye(3)}, "no covariance"),
        ({"features": np.zeros((5, 2))}, r"features should be finite \[m, 3\]; we got \[5, 2\]"),
        ({"features": np.full((5, 3), 1e300)}, "features should be finite"),
        ({"features": np.full((5, 3), np.nan)}, "features should be finite"),
        ({"n": np.array(1)}, "at least 2"),
        ({"n": np.array([20])}, "one number of images"),
        ({"n": np.array(20.5)}, "one number of images"),
        ({"mu": np.zeros(MAX_WIDTH + 1000)}, "mu takes .* at most .* make sense; not read"),
        ({"dataset": np.array("x" * 50_000)}, "dataset takes .* not read"),
    ],
)
def test_what_cannot_be(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        read_statistics(written(tmp_path / "file.npz", **change))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an .npz file"),
        (b"PK\x03\x04 and no more", "not an .npz file"),
        (b"\x93NUMPY not an archive", "not an .npz file"),
    ],
)
def test_no_archive(tmp_path, content, said):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_statistics(path)
    with pytest.raises(InputError, match="cannot read the file"):
        read_statistics(tmp_path / "none.npz")


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 20), (1 << 62,), (-1,), (1 << 40, 1 << 40)])
def test_a_member_that_claims_more_than_it_holds(tmp_path, shape):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", header((3,)) + b"\0" * 24)
        archive.writestr("sigma.npy", header(shape) + b"\0" * 72)
    with pytest.raises(InputError, match=r"file\.npz"):
        read_statistics(path)


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", header((3,)) + b"\0" * 24)
        archive.writestr("sigma.npy", header((3, 3)) + b"\0" * 72)
        archive.writestr("digest.npy", header((), "|S9000000") + b"\0" * 9_000_000)
    with pytest.raises(InputError, match="digest takes 9,000,"):
        read_statistics(path)


def test_members_that_are_no_arrays(tmp_path):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu", b"import os")
        archive.writestr("sigma.npy", b"cos\nsystem\n")
    with pytest.raises(InputError, match=r"file\.npz"):
        read_statistics(path)


def archives():
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, array in FULL.arrays().items():
                inner = io.BytesIO()
                np.save(inner, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", inner.getvalue())
        found.append(buffer.getvalue())
    return found


ARCHIVES = archives()


@given(st.sampled_from(ARCHIVES), st.data())
@settings(max_examples=300)
def test_damage_is_an_input_error(tmp_path_factory, content, data):
    """Whatever bytes are flipped, the file is read or refused, and nothing else happens."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged)
    try:
        read_statistics(path)
    except InputError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("width", [3, EXACT_WIDTH + 8])
@pytest.mark.parametrize(("least", "is_one"), [(-3.0, False), (-2e-5, False), (-2e-6, True), (0.0, True)])
def test_a_covariance_has_no_eigenvalue_below_zero(tmp_path, width, least, is_one):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(width, width)))[0]
    values = np.concatenate([[least], rng.uniform(0, 1, width - 2), [10.0]])  # least against 1e-6 of 10
    sigma = (basis * values) @ basis.T
    path = written(tmp_path / "file.npz", mu=np.zeros(width), sigma=(sigma + sigma.T) / 2)
    if is_one:
        assert read_statistics(path).width == width
    else:
        with pytest.raises(InputError, match=r"sigma is no covariance.*below zero"):
            read_statistics(path)


def test_no_scatter_and_fewer_images_than_features_are_covariances(tmp_path):
    for width in (4, EXACT_WIDTH + 8):
        few = np.random.default_rng(0).normal(size=(3, width))
        for sigma in (np.zeros((width, width)), np.cov(few.T)):
            assert read_statistics(written(tmp_path / "f.npz", mu=np.zeros(width), sigma=sigma)).width == width


def test_what_images_there_were(tmp_path):
    Statistics(**PLAIN, shape=(3, 32, 64), formats=("JPEG", "PNG")).write(tmp_path / "told.npz")
    found = read_statistics(tmp_path / "told.npz")
    assert (found.shape, found.formats) == ((3, 32, 64), ("JPEG", "PNG"))
    Statistics(**PLAIN, formats=()).write(tmp_path / "bytes.npz")
    assert read_statistics(tmp_path / "bytes.npz").formats == ()
    assert read_statistics(written(tmp_path / "official.npz")).formats is None
    with pytest.raises(InputError, match="shape should be channels, height and width"):
        read_statistics(written(tmp_path / "bad.npz", shape=np.array([3, 0, 2])))


@pytest.mark.parametrize("names", [("mean", "cov"), ("mu", "cov"), ("mu_s", "sigma_s"), ("m", "s")])
def test_other_names_are_named_with_the_right_ones(tmp_path, names):
    np.savez(tmp_path / "other.npz", **dict(zip(names, PLAIN.values(), strict=True)))
    with pytest.raises(InputError) as told:
        read_statistics(tmp_path / "other.npz")
    assert all(name in str(told.value) for name in (*names, "`mu` [d]", "`sigma` [d, d]"))
