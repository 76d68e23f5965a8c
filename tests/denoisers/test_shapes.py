"""Samples of any shape: vectors, sequences, volumes and video go wherever nothing needs an image."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import harness
from harness.core.errors import InputError
from harness.datasets.pictures import PLOT_HEIGHT, PLOT_WIDTH, pictures
from harness.denoisers.conventions import FlowVelocity, wrap
from harness.denoisers.load import describe
from harness.execution import run as run_module
from harness.execution import worker
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.sample_images import sample_to_files
from harness.experiments.plan import plan
from harness.metrics import METRICS
from harness.metrics.base import SamplingJob
from harness.metrics.features.configs import EXTRACTORS
from harness.report.pages.grid import render
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from harness.store.database import Store

SHAPES = [[5], [2, 7], [1, 1, 1], [2, 3, 4, 4], [1, 2, 3, 4, 5]]
FREE = [[5], [2, 3, 4, 4]]
NOISES = [
    "deterministic",
    "ancestral",
    "churn",
    "langevin",
    {"kind": "restart", "intervals": {"t_min": 0.1, "t_max": 1}},
]


def mixture(shape, **fields):
    return {"kind": "mixture", "means": [-0.5, 0.6], "std": 0.3, "shape": shape, **fields}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["gaussian", "mixture", "diracs", "with-error"])
def test_analytic_denoisers_of_any_shape(kind, shape):
    spec = mixture(shape) if kind == "mixture" else {"kind": kind, "shape": shape}
    spec = {"kind": kind, "denoiser": mixture(shape), "epsilon": 0.05} if kind == "with-error" else spec
    denoiser = harness.load_denoiser(spec)
    assert denoiser.shape == describe(spec).shape == tuple(shape)
    harness.check_denoiser(denoiser)


def test_means_give_the_shape():
    assert describe({"kind": "gaussian", "mean": [0.0, 1.0, 2.0]}).shape == (3,)
    assert describe({"kind": "mixture", "means": [[[0.0], [1.0]], 0.5]}).shape == (2, 1)


def test_numbers_do_not_depend_on_how_they_are_arranged():
    """A vector and the image of the same numbers follow one trajectory."""
    flat, image = (harness.load_denoiser(mixture(shape)) for shape in ([12], [1, 3, 4]))
    for solver in SOLVERS.kinds:
        fields = {"solver": solver} if SOLVERS.read(solver).adaptive else {"solver": solver, "steps": 6}
        a, b = (harness.sample(one, Sampler.model_validate(fields), range(3)) for one in (flat, image))
        assert torch.equal(a.images, b.images.flatten(1)) and torch.equal(a.nfe, b.nfe)


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("shape", FREE, ids=str)
def test_every_noise_at_any_shape(shape, noise):
    out = harness.sample(harness.load_denoiser(mixture(shape)), Sampler(steps=5, stochasticity=noise), range(2))
    assert out.images.shape == (2, *shape) and out.images.isfinite().all()


@pytest.mark.parametrize("shape", FREE, ids=str)
def test_guidance_at_any_shape(shape):
    spec = {"kind": "autoguidance", "denoiser": mixture(shape), "guide": mixture(shape, std=0.5), "sigma_hi": 2.0}
    harness.check_denoiser(harness.load_denoiser(spec))


@pytest.mark.parametrize("shape", FREE, ids=str)
@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "end-point-error"},
        {"kind": "convergence-order", "reference": 128},
        {"kind": "truncation-error", "substeps": 4},
        {"kind": "curvature", "points": 16},
        {"kind": "jacobian-asymmetry", "probes": 1},
        {"kind": "round-trip-error"},
        {"kind": "denoising-error", "images": "samples"},
    ],
    ids=lambda metric: metric["kind"],
)
def test_diagnostics_at_any_shape(metric, shape):
    job = SamplingJob(harness.load_denoiser(mixture(shape)), Sampler(steps=6), [0, 1, 2])
    assert METRICS.read(metric).observe(job).values.shape == (3,)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("detail", r"compares with 'digits' \[1, 8, 8\]; we got \[5\]"),
        ("denoising-error", r"images 'digits' are \[1, 8, 8\] and the denoiser has \[5\]; use images 'samples'"),
        ({"kind": "fid", "reference": "x"}, r"'fid' needs images \[C, H, W\], not \[5\]"),
        ({"kind": "fid", "reference": "x", "extractor": "inception-pt"}, r"needs images \[C, H, W\], not \[5\]"),
        ({"kind": "kid", "reference": "digits", "extractor": "digits"}, r"compares images \[1, 8, 8\], not \[5\]"),
        (
            {"kind": "fid", "reference": "x", "extractor": {"kind": "raw", "size": 4}},
            r"averages the pixels of images \[C, H, W\], not \[5\]",
        ),
    ],
    ids=str,
)
def test_metrics_of_images_are_refused_with_the_shape(metric, message):
    with pytest.raises(InputError, match=message) as told:
        METRICS.read(metric).check(Sampler(), (5,))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("shape", FREE, ids=str)
def test_raw_features_are_the_numbers(shape):
    features = EXTRACTORS.read("raw").load(tuple(shape))
    values = torch.linspace(-1, 1, 2 * int(np.prod(shape)), dtype=torch.float64).reshape(2, *shape)
    assert features.width == np.prod(shape)
    assert torch.allclose(features(values), (values.flatten(1) + 1) / 2, atol=1 / 255)
    METRICS.read({"kind": "fid", "reference": "x", "extractor": "raw"}).check(Sampler(), tuple(shape))


GRID = """
title: Free shapes
samples: 8
steps: [3, 6, 12]
mosaics: [6]
metrics:
  - {kind: end-point-error, reference: 64}
  - {kind: convergence-order, reference: 256}
  - {kind: denoising-error, images: samples}
denoisers:
  vector: {source: {kind: mixture, means: [-0.5, 0.6], std: 0.3, shape: [5]}}
  video: {source: {kind: gaussian, mean: 3.0, std: 2.0, shape: [2, 3, 4, 4]}}
series:
  - {name: Euler, role: baseline, sampler: {solver: euler}}
  - {name: Heun, role: ours, sampler: {solver: heun}}
"""


def test_a_grid_runs_and_its_report_renders(tmp_path, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    worker._denoiser.cache_clear()
    path = tmp_path / "free.yaml"
    path.write_text(GRID)
    with Store(str(tmp_path / "store.sqlite")) as store:
        summary = run_module.run(plan(path), store, device="cpu")
        assert (summary.trials, summary.failed) == (3 * 2 * 2 * 3, 0)
        assert run_module.run(plan(path), store, device="cpu").chunks == 0  # its pictures are there too
        html = render(store, "free")
    assert "data:image/png" in html and "vector" in html and "video" in html
    assert json.dumps(list(describe(mixture([5])).shape)) == "[5]"


def test_a_grid_from_noise_runs_and_its_report_renders(tmp_path, monkeypatch):
    """The first level is infinite: nothing that is stored or drawn is."""
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    worker._denoiser.cache_clear()
    path, flow = (
        tmp_path / "noise.yaml",
        "{discretization: {kind: flow, shift: 3}, schedule: flow, scaling: flow, solver",
    )
    path.write_text(
        "title: From noise\nsamples: 8\nnfe: [5, 9]\nmosaics: [9]\nmetrics: {kind: end-point-error, reference: 128}\n"
        "denoisers: {vector: {source: {kind: mixture, means: [-0.5, 0.6], std: 0.3, shape: [5]}}}\nseries:\n"
        f"  - {{name: Euler, sampler: {flow}: euler}}}}\n  - {{name: 2M, sampler: {flow}: dpmpp_2m}}}}\n"
    )
    with Store(str(tmp_path / "store.sqlite")) as store:
        summary = run_module.run(plan(path), store, device="cpu")
        assert (summary.trials, summary.failed) == (4, 0)
        html = render(store, "noise")
    assert "t_max" in html or "flow" in html


def test_pictures_of_any_shape():
    images = np.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    assert pictures(images).shape == images.shape and pictures(images)[-1].max() == 255
    assert pictures(np.zeros((4, 9))).shape == pictures(np.zeros((4, 2, 9))).shape == (4, 1, PLOT_HEIGHT, PLOT_WIDTH)
    drawn = pictures(np.stack([np.linspace(0, 8, 9), np.linspace(8, 0, 9)]))
    assert np.array_equal(drawn[0, 0] < 255, (drawn[1, 0] < 255)[:, ::-1]) or (drawn < 255).sum() > 100
    slices = pictures(np.arange(2 * 2 * 3 * 4 * 5, dtype=float).reshape(2, 2, 3, 4, 5))
    assert slices.shape == (2, 1, 4, 6 * 5) and (slices.min(), slices.max()) == (0, 255)
    assert np.array_equal(slices[0, 0, :, :5], np.round(255 * np.arange(20).reshape(4, 5) / 239))


@pytest.mark.parametrize("shape", FREE, ids=str)
def test_samples_as_a_sheet_or_refused(tmp_path, shape):
    sampler = Sampler(steps=3)
    sample_to_files(mixture(shape), sampler, [0, 1, 2], None, tmp_path / "sheet.png", device="cpu")
    with Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())) as sheet:
        assert sheet.size[0] >= 3
    with pytest.raises(InputError, match="are no images; give a sheet"):
        sample_to_files(mixture(shape), sampler, [0], None, tmp_path / "folder", device="cpu")


def test_data_of_any_scale():
    """Nothing assumes values in [-1, 1] or a top of 80."""
    denoiser = harness.load_denoiser({"kind": "gaussian", "mean": 500.0, "std": 100.0, "shape": [4]})
    harness.check_denoiser(denoiser)
    levels = {"kind": "edm", "sigma_min": 0.1, "sigma_max": 20000.0}
    images = harness.sample(denoiser, Sampler(discretization=levels, steps=40), range(64)).images
    assert images.mean() == pytest.approx(500, abs=20) and images.std() == pytest.approx(100, rel=0.1)


def test_a_network_of_a_sequence_samples_under_flow():
    network = torch.nn.Conv1d(2, 2, 3, padding=1).requires_grad_(False)
    denoiser = wrap(lambda x, t: network(x) * (1 - t[:, None, None]), FlowVelocity(), shape=(2, 9))
    harness.check_denoiser(denoiser, identity=False)
    flow = {"discretization": "flow", "schedule": "flow", "scaling": "flow", "steps": 4, "solver": "unipc"}
    assert harness.sample(denoiser, Sampler.model_validate(flow), [0]).images.shape == (1, 2, 9)
