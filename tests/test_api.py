"""Whole runs from Python, with denoisers that are objects."""

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.sampling.sampler import Sampler

GAUSSIAN = {"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]}
GRID = {
    "title": "Mine",
    "metrics": "end-point-error",
    "samples": 8,
    "steps": [3, 6],
    "denoisers": ["mine"],
    "series": [{"name": "Heun"}],
}


def make():
    """A factory that worker processes can import."""
    return harness.load_denoiser(GAUSSIAN)


class Own:
    """A denoiser of a program, which inherits from nothing here and counts its calls."""

    shape, label_dim, sigma_min, sigma_max, cost = (1, 2, 2), 0, 0.0, float("inf"), 1
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self):
        self.calls = 0

    def round_sigma(self, sigma):
        return sigma

    def __call__(self, x, sigma, labels=None):
        self.calls += 1
        sigma = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1, 1)
        return x.double() * 0.25 / (0.25 + sigma**2)


class Broken(Own):
    """It depends on the other rows of a batch."""

    def __call__(self, x, sigma, labels=None):
        return super().__call__(x, sigma) + 0.1 * x.double().mean()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_object_runs_a_grid():
    table = harness.run(GRID, denoisers={"mine": Own()})
    assert list(table["status"]) == ["done", "done"]
    assert table["value"].iloc[1] < table["value"].iloc[0]
    ours = harness.run(GRID, denoisers={"mine": GAUSSIAN}, executor="inline")
    assert np.allclose(table["value"], ours["value"], rtol=1e-9)


def test_results_without_an_identity_are_gone_afterwards(folder):
    own = Own()
    harness.run(GRID, denoisers={"mine": own})
    calls = own.calls
    harness.run(GRID, denoisers={"mine": own})
    assert own.calls > calls + 10 and not (folder / "results").exists()
    with pytest.raises(InputError, match="identity"):
        harness.run(GRID, denoisers={"mine": own}, store="mine.sqlite")


def test_an_identity_keeps_results():
    own = Own()
    first = harness.run(GRID, denoisers={"mine": own}, identity="own-1", store="mine.sqlite")
    calls = own.calls
    again = harness.run(GRID, denoisers={"mine": own}, identity="own-1", store="mine.sqlite")
    assert own.calls == calls and list(first["value"]) == list(again["value"])
    other = harness.run(GRID, denoisers={"mine": own}, identity="own-2", store="mine.sqlite")
    assert own.calls > calls and set(other["fingerprint"]).isdisjoint(first["fingerprint"])
    assert len(harness.results("mine.sqlite")) == 4


def test_a_factory_is_called_once():
    calls = []
    harness.run(GRID, denoisers={"mine": lambda: calls.append(1) or Own()}, executor="inline")
    assert calls == [1]


def test_workers_call_a_factory():
    table = harness.run(GRID, denoisers={"mine": make}, identity="made", executor="processes", store="mine.sqlite")
    assert list(table["status"]) == ["done", "done"]


def test_workers_cannot_take_an_object():
    with pytest.raises(InputError, match="executor='inline'"):
        harness.run(GRID, denoisers={"mine": Own()}, executor="processes")
    with pytest.raises(InputError, match="top of a module"):
        harness.run(GRID, denoisers={"mine": lambda: Own()}, executor="processes")


def test_a_broken_promise_is_told_before_anything_is_computed(folder):
    with pytest.raises(InputError, match=r"'mine' breaks a promise.*other rows"):
        harness.run(GRID, denoisers={"mine": Broken()}, identity="broken", store="mine.sqlite")
    assert not len(harness.results("mine.sqlite"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"denoisers": {"other": make}}, "denoiser 'other' was given, and this grid has mine"),
        ({"denoisers": {"mine": make}, "identity": {"other": "x"}}, "no object among denoisers"),
        ({"denoisers": {"mine": GAUSSIAN}, "identity": "x"}, "leave it out"),
        ({"denoisers": {"mine": lambda: 1 / 0}}, "factory of denoiser 'mine' raised ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_refused(given, told):
    with pytest.raises(InputError, match=told):
        harness.run(GRID, **given)


def test_what_is_no_denoiser_is_told():
    with pytest.raises(InputError, match=r"is a network, and no denoiser yet; .*wrap"):
        harness.run(GRID, denoisers={"mine": torch.nn.Linear(2, 2)})
    with pytest.raises(InputError, match="what the factory of denoiser 'mine' makes is a network"):
        harness.run(GRID, denoisers={"mine": lambda: torch.nn.Linear(2, 2)})
    with pytest.raises(InputError, match="is no denoiser: it needs shape"):
        harness.run(GRID, denoisers={"mine": object()})


def test_an_object_that_rounds_levels_says_so():
    from harness.denoisers.conventions import Noise, wrap
    from harness.denoisers.given import GivenDenoiser, GivenSpec, given_denoisers

    for convention, rounds in ((Noise(betas="linear"), True), (Noise(), False)):
        wrapped = wrap(lambda x, t: x * 0, convention, shape=(1, 2, 2))
        with given_denoisers({"mine": GivenDenoiser(wrapped, "w")}):
            assert GivenSpec(name="mine", identity="w").describe().rounds is rounds


def test_an_untrained_object_may_say_so():
    class Untrained(Own):
        def __call__(self, x, sigma, labels=None):
            return x.double().sign()

    with pytest.raises(InputError, match="breaks a promise"):
        harness.run(GRID, denoisers={"mine": Untrained()})
    table = harness.run(GRID, denoisers={"mine": Untrained()}, check="interface")
    assert (table["status"] == "done").all()


def test_a_search_takes_an_object():
    found = harness.search(
        "deterministic", Own(), metric="end-point-error", nfe=7, budget=3, samples=16, top=1, identity="own", study="s"
    )
    assert isinstance(found.best, Sampler) and found.study == "s"
    assert (found.trials["status"] == "done").sum() >= 3
    with pytest.raises(InputError, match="takes no 'speed'"):
        harness.search("stochastic", Own(), speed=1)


def test_a_run_and_a_search_stop_at_a_limit_and_go_on(capsys):
    exact = {"kind": "gaussian", "std": 0.5, "shape": [1, 8, 8]}
    grid = {**GRID, "metrics": "fd-digits", "samples": 128, "steps": [4, 5, 6, 7]}
    options = {"denoisers": {"mine": exact}, "executor": "inline", "store": "s.sqlite"}
    whole = harness.run(grid, **options | {"store": "whole.sqlite"})
    part = harness.run(grid, **options, max_evaluations=3000)
    assert sorted(part["status"]) == ["done", "done", "missing", "missing"]
    assert "stopped at the limit of 3,000 network evaluations" in capsys.readouterr().err
    again = harness.run(grid, **options)
    assert list(again["value"]) == list(whole["value"]) and "stopped" not in capsys.readouterr().err

    asked = {"metric": "fd-digits", "nfe": 7, "samples": 128, "top": 1, "store": "s.sqlite", "executor": "inline"}
    few = harness.search("deterministic", exact, budget=5, study="s", max_evaluations=2000, **asked)
    assert few.best is None and "the limit of 2,000" in capsys.readouterr().err
    found = harness.search("deterministic", exact, budget=5, study="s", **asked)
    assert found.best is not None and len(found.trials) > len(few.trials)


def test_floats_stay_floats():
    values = torch.randn(64, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    np.save("values.npy", values.numpy())
    metric = "{kind: fid, extractor: {kind: raw, values: float}, reference: values.npy}"
    (array,) = harness.evaluate(values, metric)
    (file,) = harness.evaluate("values.npy", metric)
    assert array.estimate.value == pytest.approx(file.estimate.value, abs=1e-9) == pytest.approx(0, abs=1e-6)


def test_images_are_measured():
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (floats,) = harness.evaluate(images, "fd-digits")
    as_bytes = ((images.numpy() * 127.5 + 128).clip(0, 255)).astype(np.uint8)
    (bytes_,) = harness.evaluate(as_bytes, "fd-digits")
    assert floats.estimate.value == bytes_.estimate.value > 0 and floats.n == 64


class Digits(Own):
    """Gaussian noise of the digits' shape."""

    shape = (1, 8, 8)


def test_a_sampler_is_measured_on_an_object():
    sampler = Sampler(steps=3)
    (ours,) = harness.evaluate(sampler, "fd-digits", denoiser=Digits(), samples=96)
    images = harness.sample(Digits(), sampler, seeds=range(96)).images
    (same,) = harness.evaluate(images, "fd-digits")
    assert ours.n == 96 and ours.estimate.value == pytest.approx(same.estimate.value, rel=1e-9)
    with pytest.raises(InputError, match="a sampler is measured on a denoiser"):
        harness.evaluate(sampler, "fd-digits")
    with pytest.raises(InputError, match="images are measured alone"):
        harness.evaluate(images, "fd-digits", denoiser=Digits())
