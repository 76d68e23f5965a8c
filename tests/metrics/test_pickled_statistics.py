"""Statistics in pickles, as EDM2 writes them: read without executing anything, or said what they are."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.metrics.features.configs import DinoV2, Inception, Pixels
from harness.metrics.pickled_statistics import read_pickled
from harness.metrics.references import find_reference, read_reference

ROWS = np.random.default_rng(0).normal(size=(20, 3))
PAIR = {"mu": ROWS.mean(0), "sigma": np.cov(ROWS.T)}
OTHER = {"mu": np.ones(2), "sigma": np.eye(2)}
EDM2 = {"num_images": 20, "fid": PAIR, "fd_dinov2": OTHER}


def pickled(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_pair_of_a_metric_is_read(tmp_path, protocol):
    path = pickled(tmp_path / "img.pkl", EDM2, protocol)
    fid, dino = read_pickled(path, "fid"), read_pickled(path, "fd_dinov2")
    assert np.array_equal(fid.mu, PAIR["mu"]) and np.array_equal(fid.sigma, PAIR["sigma"])
    assert (fid.n, fid.extractor) == (20, None)
    assert dino.width == 2


def test_the_top_may_be_the_pair_and_a_dict_with_attributes(tmp_path, monkeypatch):
    module, own = types.ModuleType("dnnlib"), types.ModuleType("dnnlib.util")
    own.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    monkeypatch.setitem(sys.modules, "dnnlib", module)
    monkeypatch.setitem(sys.modules, "dnnlib.util", own)
    path = pickled(tmp_path / "easy.pkl", own.EasyDict(EDM2))
    monkeypatch.undo()
    assert read_pickled(path, "fid").width == 3
    assert read_pickled(pickled(tmp_path / "pair.pkl", PAIR), "").width == 3


def test_which_extractor_takes_which(tmp_path):
    path = str(pickled(tmp_path / "img.pkl", EDM2))
    with pytest.raises(InputError, match="statistics of EDM2 for 'fid', 'fd_dinov2', and none of them is in this extr"):
        read_reference(find_reference(path, Pixels()), Pixels())
    place = find_reference(path, Inception())
    found = read_reference(place, Inception())
    assert np.array_equal(found.statistics.mu, PAIR["mu"])
    assert found.id == f"img.pkl:{place.key[:12]}/?/?"  # the file does not say which network it was
    assert DinoV2.edm2_metric == "fd_dinov2"


class Evil:
    def __reduce__(self):
        return (eval, ("1 + 1",))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Evil(), "eval"),
        ([1, 2], "a pickle without a dict"),
        ({"weights": 1}, "a pickle with weights, without `mu` and `sigma`"),
        ({"mu": [1.0], "sigma": [[1.0]]}, "not an array of NumPy"),
        ({"fid": {"mu": np.zeros(3), "sigma": -np.eye(3)}}, "no covariance"),
        ({"fid": {"mu": np.zeros(3), "sigma": np.eye(2)}}, "do not go together"),
    ],
)
def test_what_cannot_be(tmp_path, value, said):
    with pytest.raises(InputError, match=said):
        read_pickled(pickled(tmp_path / "bad.pkl", value), "fid")


def test_other_files_of_statistics_are_told_about_as_statistics(tmp_path):
    torch.save({name: torch.from_numpy(array) for name, array in PAIR.items()}, tmp_path / "a.pt")
    np.save(tmp_path / "b.npy", ROWS)
    np.save(tmp_path / "c.npy", np.array(PAIR, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", mean=PAIR["mu"], cov=PAIR["sigma"])
    for name, said in [
        ("a.pt", "a file of torch.save"),
        ("b.npy", r"float64 \[20, 3\] are no images"),
        ("c.npy", "holds Python objects"),
        ("d.npz", "has no mu and no sigma, and has cov, mean"),
    ]:
        with pytest.raises(InputError, match=said) as told:
            read_reference(find_reference(str(tmp_path / name), Pixels()), Pixels())
        assert "a file of statistics is an .npz with `mu` [d] and `sigma` [d, d]" in str(told.value)
